"""Listings as other servers make them, out of what the server behind has: the rule `list`.

What is right stays right: the same keys, each on some page. What differs is what S3 clients like to
take for granted: which of the two kinds of entries comes first, how many are on a page, what is
counted, which parameters are kept. `keys` adds some that the server behind cannot hold.
"""

import base64
import random
import urllib.parse
import xml.etree.ElementTree
import xml.sax.saxutils

EMPTY_ETAG = '"d41d8cd98f00b204e9800998ecf8427e"'
TIME = "2026-01-02T03:04:05.000Z"
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def sorting(key):
    return key.encode("utf-8", "surrogatepass")


def parents(key):
    """Folders that a key lies in; itself, if it is the key of one."""
    parts = key.split("/")[:-1]
    return {"/".join(parts[:i + 1]) + "/" for i in range(len(parts))}


class Folders:
    """Folders as a server on top of a file system has them: they stay when they are empty, until
    somebody deletes "folder/"."""

    def __init__(self):
        self.known = {}                 # bucket -> set

    def happened(self, x):
        known = self.known.setdefault(x.bucket, set())
        if x.op in ("PutObject", "CopyObject", "CompleteMultipartUpload"):
            known |= parents(x.key)
        elif x.op == "DeleteObject" and x.key.endswith("/"):
            if not any(f != x.key and f.startswith(x.key) for f in known):
                known.discard(x.key)


def parse_page(data):
    """({key: (size, etag, time)}, token or None) of a flat page."""
    root = xml.etree.ElementTree.fromstring(data)

    def text(element, name):
        found = element.find(NAMESPACE + name)
        if found is None:
            found = element.find(name)
        return "" if found is None or found.text is None else found.text
    coded = text(root, "EncodingType") == "url"
    out = {}
    for c in root:
        if c.tag.rpartition("}")[2] == "Contents":
            key = text(c, "Key")
            out[urllib.parse.unquote_plus(key) if coded else key] = (
                int(text(c, "Size")), text(c, "ETag"), text(c, "LastModified"))
    return out, text(root, "NextContinuationToken") if text(root, "IsTruncated") == "true" else None


class Listing:
    """One request to list, and the answer to it. `rule`: parameters of the rule."""

    def __init__(self, query, rule, objects, folders=()):
        args = {n: v[0] for n, v in urllib.parse.parse_qs(query, keep_blank_values=True).items()}
        for name in rule["ignore"]:
            args.pop(name, None)
        self.rule, self.objects = rule, objects
        self.prefix, self.delimiter = args.get("prefix", ""), args.get("delimiter", "")
        self.coded = args.get("encoding-type") == "url"
        self.limit = int(args.get("max-keys", 4500))
        if rule["page"]:
            self.limit = min(self.limit, rule["page"])
        self.start, self.token = args.get("start-after", ""), args.get("continuation-token", "")
        self.folders = folders if self.delimiter else ()

    def entries(self):
        """(key, is_prefix) in order."""
        found = set()
        token = base64.urlsafe_b64decode(self.token).decode() if self.token else ""
        for key in list(self.objects) + list(self.folders):
            if not key.startswith(self.prefix) or not token and self.is_before(key):
                continue
            cut = key.find(self.delimiter, len(self.prefix)) if self.delimiter else -1
            entry = (key, False) if cut < 0 else (key[:cut + 1], True)
            if entry[0] == self.prefix and key not in self.objects:
                continue                # the folder itself
            if not token or sorting(entry[0]) > sorting(token):
                found.add(entry)
        return sorted(found, key=lambda e: sorting(e[0]))

    def is_before(self, key):
        if self.rule["compare"] == "coded" and self.start:
            return urllib.parse.quote(key) <= self.start    # one of them coded, the other not
        return bool(self.start) and sorting(key) <= sorting(self.start)

    def page(self):
        """Entries of the page, and the last of them if more follow."""
        entries = self.entries()
        if not self.rule["uncounted"]:
            page = entries[:self.limit]
            return page, page[-1][0] if page and len(entries) > len(page) else None
        keys = [e for e in entries if not e[1]]
        page = keys[:self.limit] + [e for e in entries if e[1]]
        return page, keys[self.limit - 1][0] if len(keys) > self.limit else None

    def document(self):
        page, last = self.page()
        order = self.rule["order"]
        if order == "shuffled":
            random.Random(self.rule["shuffle"]).shuffle(page)
        page.sort(key=lambda e: e[1], reverse=order == "prefixes")
        parts = ['<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult>']
        if self.coded:
            parts.append("<EncodingType>url</EncodingType>")
        parts.append(f"<IsTruncated>{'true' if last else 'false'}</IsTruncated>")
        if last:
            token = base64.urlsafe_b64encode(last.encode()).decode()
            parts.append(f"<NextContinuationToken>{token}</NextContinuationToken>")
        parts += [self.element(*e) for e in page]
        return "".join(parts) + "</ListBucketResult>"

    def element(self, key, is_prefix):
        text = urllib.parse.quote(key) if self.coded else xml.sax.saxutils.escape(key)
        if is_prefix:
            return f"<CommonPrefixes><Prefix>{text}</Prefix></CommonPrefixes>"
        size, etag, time = self.objects[key]
        return (f"<Contents><Key>{text}</Key><LastModified>{time}</LastModified>"
                f"<ETag>{xml.sax.saxutils.escape(etag)}</ETag><Size>{size}</Size></Contents>")


def own_objects(rule):
    """Those that the rule itself names."""
    return {key: (0, EMPTY_ETAG, TIME) for key in rule["keys"]}
