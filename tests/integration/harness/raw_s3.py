"""S3 requests by hand, for many small ones, and for programs that have no time to load boto3."""

import html
import http.client
import re
import urllib.parse

from . import ACCESS, REGION, SECRET
from sigv4 import signed_head


class Raw:
    """One connection to one bucket, a tenth of boto3's time a request. Answers that are not
    expected are an error."""

    def __init__(self, endpoint, bucket):
        self.bucket = bucket
        self.host = urllib.parse.urlsplit(endpoint).netloc
        self.conn = http.client.HTTPConnection(self.host, timeout=30)
        self.conn.connect()

    def close(self):
        self.conn.close()

    def _answer(self, method, key, data, *good, query="", meta=None):
        path = "/" + urllib.parse.quote(f"{self.bucket}/{key}" if key else self.bucket,
                                        safe="/-_.~")
        head = signed_head(method, self.host, path, query, ACCESS, SECRET, REGION,
                           {"content-length": str(len(data)),
                            **{f"x-amz-meta-{name}": value for name, value in (meta or {}).items()}})
        self.conn.sock.sendall(head + data)
        answer = http.client.HTTPResponse(self.conn.sock, method=method)
        answer.begin()
        body = answer.read()
        if answer.status not in good:
            raise AssertionError(f"{method} {key}: {answer.status} {body[:500]!r}")
        return answer, body

    def _ask(self, method, key, data, *good):
        answer, body = self._answer(method, key, data, *good)
        return answer.status, body

    def state(self, key):
        """(ETag, time of its last change), which together name one object; None without one."""
        answer, _ = self._answer("HEAD", key, b"", 200, 404)
        if answer.status == 404:
            return None
        return answer.headers["ETag"].strip('"'), answer.headers["Last-Modified"]

    def files(self, prefix):
        """{name: (ETag, time)} of the files right below the prefix, if one page tells them all, and
        without names that are directories too or that no file can have; else {}."""
        query = urllib.parse.urlencode(
            {"delimiter": "/", "list-type": "2", "prefix": prefix},
            quote_via=urllib.parse.quote, safe="-_.~")
        _, body = self._answer("GET", "", b"", 200, query=query)
        text = body.decode()
        if "<IsTruncated>true" in text:
            return {}
        dirs = {html.unescape(p)[len(prefix):-1] for p in
                re.findall(r"<CommonPrefixes>.*?<Prefix>(.*?)</Prefix>", text, re.DOTALL)}
        found = {}
        for item in re.findall(r"<Contents>(.*?)</Contents>", text, re.DOTALL):
            key, modified, etag = (re.search(f"<{tag}>(.*?)</{tag}>", item).group(1)
                                   for tag in ("Key", "LastModified", "ETag"))
            name = html.unescape(key)[len(prefix):]
            if name and name not in dirs and name not in (".", "..") and len(name.encode()) < 256:
                found[name] = etag, modified
        return found

    def put(self, key, data, meta=None):
        self._answer("PUT", key, data, 200, meta=meta)

    def get(self, key):
        """None where there is nothing."""
        status, body = self._ask("GET", key, b"", 200, 404)
        return body if status == 200 else None

    def delete(self, key):
        self._ask("DELETE", key, b"", 204, 404)
