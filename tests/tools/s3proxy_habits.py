"""What servers do otherwise than S3, as a rule of the proxy (action "habit"): how they write ETags, what
they call the root of an XML answer, that they leave out Content-Length, how they call themselves.

    etag       bare | weak | upper | none: the form of ETags; conditions count in that form only
               (weak: without the W/), others are answered 412
    etag_in    all | headers | xml: where
    root       {"CopyObjectResult": "CopyResult"}: other names of root elements
    no_length  answers without Content-Length (bodies come in chunks)
    server     the Server header
    classes    storage classes of the entries of a listing, in their order
"""

import re

from sigv4 import sign_again

PARAMS = {"etag": None, "etag_in": "all", "root": {}, "no_length": False, "server": None,
          "classes": []}
FORMS = (None, "bare", "weak", "upper", "none")
MATCHES = ("if-match", "x-amz-copy-source-if-match")
XML_CLASS = re.compile(rb"<StorageClass>.*?</StorageClass>")
XML_ETAG = re.compile(rb"<ETag>(.*?)</ETag>")


def check(params):
    if params["etag"] not in FORMS or params["etag_in"] not in ("all", "headers", "xml"):
        raise ValueError("habit: etag is bare, weak, upper or none; etag_in all, headers or xml")


def _write(form, etag):
    """An ETag of S3's form (quoted; in XML the quotes may be coded) in this one."""
    if form == "bare":
        return etag.replace("&quot;", "").replace("&#34;", "").strip('"')
    if form == "weak":
        return "W/" + etag
    quote = re.match(r'"|&quot;|&#34;|', etag).group()
    inside = etag[len(quote):len(etag) - len(quote)]
    return quote + inside.upper() + quote


def _in_form(form, value):
    if form == "bare":
        return '"' not in value
    return value == value.upper() if form == "upper" else True


def _own(value):
    """As the server behind the proxy writes it."""
    return '"' + value.strip('"').lower() + '"'


def request(habits, x, head, credentials):
    """(head to send on, refusal or None)"""
    for habit in habits:
        form = habit["etag"] if habit["etag_in"] != "xml" else None
        for name in MATCHES:
            value = x.headers.get(name)
            if form is None or value is None:
                continue
            if form == "none" or not _in_form(form, value):
                return head, {"status": 412}
            head = sign_again(head, (), credentials, {name: _own(value)})
        value = x.headers.get("if-none-match")
        if form and value not in (None, "*"):
            same = form != "none" and _in_form(form, value)
            head = sign_again(head, () if same else ("if-none-match",), credentials,
                              {"if-none-match": _own(value)})
    return head, None


def _headers(habit, lines):
    form = habit["etag"] if habit["etag_in"] != "xml" else None
    out = [lines[0]]
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        lower = name.decode("latin-1").lower()
        if lower == "etag" and form == "none" or lower == "server" and habit["server"]:
            continue
        if lower == "etag" and form:
            line = b"ETag: " + _write(form, value.strip().decode("latin-1")).encode()
        out.append(line)
    if habit["server"]:
        out.append(b"Server: " + habit["server"].encode())
    return out


def _body(habit, text):
    form = habit["etag"] if habit["etag_in"] != "headers" else None
    if form == "none":
        text = XML_ETAG.sub(b"", text)
    elif form:
        text = XML_ETAG.sub(lambda m: b"<ETag>" + _write(form, m.group(1).decode()).encode()
                            + b"</ETag>", text)
    if habit["classes"]:
        classes = iter(habit["classes"])
        text = XML_CLASS.sub(lambda m: b"<StorageClass>" + next(classes).encode() + b"</StorageClass>", text)
    for old, new in habit["root"].items():
        text = re.sub(rb"(</?)" + old.encode() + rb"\b", lambda m: m.group(1) + new.encode(), text)
    return text


def answer(habits, method, answer_head, text):
    """The whole answer, as bytes. `text` is its body (of HEAD: b"")."""
    lines = answer_head[:-4].split(b"\r\n")
    typed = any(line.lower().startswith(b"content-type:") and b"xml" in line.lower()
                for line in lines)
    for habit in habits:
        lines = _headers(habit, lines)
        if typed or text.startswith(b"<?xml"):
            text = _body(habit, text)
    status = int(lines[0].split(b" ")[1])
    bare = method == "HEAD" or status in (204, 304)
    no_length = any(h["no_length"] for h in habits)
    framing = (b"content-length:", b"transfer-encoding:")
    if not bare or no_length:
        lines = [line for line in lines if not line.lower().startswith(framing)]
    if not bare:
        lines.append(b"Transfer-Encoding: chunked" if no_length
                     else b"Content-Length: " + str(len(text)).encode())
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    if bare:
        return head
    if no_length:
        chunk = f"{len(text):x}\r\n".encode() + text + b"\r\n" if text else b""
        return head + chunk + b"0\r\n\r\n"
    return head + text
