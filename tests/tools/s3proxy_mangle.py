"""Answers that arrive, but not as the server sent them: a rule of the proxy (action "mangle").

    how        cut_head    half of the head, then the connection is reset
               stall_head  half of the head, then nothing more
               stall_body  the head and half of the body, then nothing more
               drip        one byte each `ms`
               truncate    half of the body, and a Content-Length that says so
               html        a web page in place of the body
               longer      a Content-Length that promises more, then the end of the connection
               shorter     a Content-Length that promises less than what comes
               flip        one bit of the body is another (with XML: of a tag's bracket)
               double      each header twice
               conflict    ETag, Content-Length and Content-Range a second time, with another value
               continues   three 100 Continue and a 103 before the answer
               continue    100 Continue in place of the answer, and nothing more
    ms         of drip
"""

import asyncio
import re

PARAMS = {"how": "flip", "ms": 20}
HOWS = ("cut_head", "stall_head", "stall_body", "drip", "truncate", "html", "longer", "shorter", "flip",
        "double", "conflict", "continues", "continue")
PAGE = (b"<html><head><title>Please log in</title></head><body>"
        b"<p>Your session has ended.<br>Log in again.</body></html>")
OTHERS = {b"etag": b'"00000000000000000000000000000000"', b"content-range": b"bytes 0-0/1"}


def check(params):
    if params["how"] not in HOWS:
        raise ValueError(f"mangle: how is one of {', '.join(HOWS)}")


def _name(line):
    return line.partition(b":")[0].strip().lower()


def _framed(lines, length, kind=None):
    """The head with this Content-Length (and Content-Type)."""
    drop = {b"content-length", b"transfer-encoding"} | ({b"content-type"} if kind else set())
    out = [line for line in lines if _name(line) not in drop]
    out.append(b"Content-Length: %d" % length)
    if kind:
        out.append(b"Content-Type: " + kind)
    return out


def _flip(text):
    at = text.find(b"<", 1) if text.startswith(b"<") else len(text) // 2
    return text[:at] + bytes([text[at] ^ 1]) + text[at + 1:] if text else text


def _conflict(lines):
    out = list(lines)
    for line in lines[1:]:
        if _name(line) in OTHERS:
            out.append(line.partition(b":")[0] + b": " + OTHERS[_name(line)])
        elif _name(line) == b"content-length":
            out.append(b"Content-Length: %d" % (int(line.partition(b":")[2]) + 1))
    return out


def rebuilt(how, lines, text, bare):
    """(lines of the head, body, whether the connection ends after it)"""
    length = len(text)
    if how == "truncate":
        return (lines if bare else _framed(lines, length // 2)), text[:length // 2], False
    if how == "html":
        lines = [re.sub(rb"\A(HTTP/1.1) \d+.*", rb"\1 200 OK", lines[0])] + [
            x for x in lines[1:] if _name(x) not in (b"etag", b"content-range", b"last-modified")]
        return _framed(lines, len(PAGE), b"text/html"), b"" if bare else PAGE, False
    if how == "longer":
        return _framed(lines, length + 10), text, True
    if how == "shorter":
        return _framed(lines, max(length - 10, 0)), text, True
    if how == "flip":
        return lines, _flip(text), False
    if how == "double":
        return [lines[0]] + [x for line in lines[1:] for x in (
            (line,) if _name(line) == b"transfer-encoding" else (line, line))], text, False
    if how == "conflict":
        return _conflict(lines), text, True
    return lines, text, False


def _unchunked(data):
    out = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        n = int(size.split(b";")[0], 16)
        if n == 0:
            break
        out, data = out + data[:n], data[n + 2:]
    return out


async def send(x, args, answer, body, client):
    """Sends it. "ok": the connection can be used again; "close", "reset"; "wait": nothing more comes, until
    the client has gone."""
    how = args["how"]
    text = b""
    while (piece := await body.piece()) is not None:
        text += piece
    bare = x.method == "HEAD" or (x.status in (204, 304) and how != "html")
    if how in ("cut_head", "stall_head"):
        client.write(answer[:len(answer) // 2])
        await client.drain()
        return "reset" if how == "cut_head" else "wait"
    if how == "continue":
        client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return "wait"
    if how == "continues":
        client.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 3
                     + b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nETag: \"no\"\r\n\r\n")
    lines = answer[:-4].split(b"\r\n")
    if body.kind == "chunked":
        text = _unchunked(text)
        lines = _framed(lines, len(text))
    lines, out, ends = rebuilt(how, lines, text, bare)
    whole = b"\r\n".join(lines) + b"\r\n\r\n" + out
    if how == "stall_body":
        client.write(whole[:len(whole) - (len(out) + 1) // 2])
        return "wait"
    if how == "drip":
        for i in range(len(whole)):
            if client.eof:
                return "close"
            client.write(whole[i:i + 1])
            await asyncio.sleep(args["ms"] / 1000)
        return "ok"
    client.write(whole)
    await client.drain()
    return "close" if ends else "ok"
