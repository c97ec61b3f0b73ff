"""The connector API as a client sees it: HTTP on a Unix socket, byte for byte."""

import http.client
import json
import socket

from . import SLOW


class Answer:
    """Of one request: status, headers (names in lower case), body."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        assert self.headers.get("content-type") == "application/json", self
        return json.loads(self.body)

    @property
    def code(self):
        """The `error` of a refusal."""
        return self.json()["error"] if self.body else None

    def __repr__(self):
        return f"Answer({self.status}, {self.headers}, {self.body[:300]!r})"


def parse_head(head):
    lines = head.decode("latin-1").split("\r\n")
    version, status, _ = lines[0].split(" ", 2)
    assert version in ("HTTP/1.1", "HTTP/1.0"), lines[0]
    return int(status), {name.lower(): value for name, value in
                         (line.split(": ", 1) for line in lines[1:] if line)}


class Raw:
    """A connection on which the test decides about every byte."""

    def __init__(self, path, timeout=30.0):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout * SLOW)
        self.sock.connect(str(path))
        self.pending = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)
        return self

    def fill(self):
        data = self.sock.recv(65536)
        self.pending += data
        return bool(data)

    def head(self):
        """The status and headers of the next answer; EOFError: there is none."""
        while b"\r\n\r\n" not in self.pending:
            if not self.fill():
                raise EOFError(f"the connection ended behind {self.pending!r}")
        head, self.pending = self.pending.split(b"\r\n\r\n", 1)
        return parse_head(head)

    def take(self, n):
        while len(self.pending) < n:
            if not self.fill():
                raise EOFError(f"the connection ended {n - len(self.pending)} bytes early")
        data, self.pending = self.pending[:n], self.pending[n:]
        return data

    def chunks(self):
        body = b""
        while True:
            while b"\r\n" not in self.pending:
                if not self.fill():
                    raise EOFError("the connection ended inside a chunked answer")
            line, self.pending = self.pending.split(b"\r\n", 1)
            n = int(line, 16)
            body += self.take(n)
            assert self.take(2) == b"\r\n"
            if not n:
                return body

    def answer(self, method="GET"):
        status, headers = self.head()
        while status == 100:
            status, headers = self.head()
        if method == "HEAD" or status == 204:
            return Answer(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, self.chunks())
        if "content-length" in headers:
            return Answer(status, headers, self.take(int(headers["content-length"])))
        while self.fill():
            pass
        return Answer(status, headers, self.take(len(self.pending)))

    def at_end(self):
        """True if the server has closed the connection."""
        return not self.pending and not self.fill()


class Connector:
    """Requests to the socket at `path`, each on a connection of its own."""

    def __init__(self, path, timeout=30.0):
        self.path, self.timeout = path, timeout

    def raw(self):
        return Raw(self.path, self.timeout)

    def request(self, method, target, body=None, headers=(), chunks=None, version="1.1"):
        """`target`: text or bytes, sent as it is. `chunks`: pieces of a chunked body."""
        target = target if isinstance(target, bytes) else target.encode()
        lines = [b"%s %s HTTP/%s" % (method.encode(), target, version.encode()),
                 b"Host: localhost", b"Accept-Encoding: identity"]
        lines += [f"{name}: {value}".encode() for name, value in headers]
        if chunks is not None:
            lines.append(b"Transfer-Encoding: chunked")
        elif body is not None:
            lines.append(b"Content-Length: %d" % len(body))
        with self.raw() as raw:
            raw.send(b"\r\n".join(lines) + b"\r\n\r\n")
            if chunks is not None:
                for piece in chunks:
                    raw.send(b"%x\r\n%s\r\n" % (len(piece), piece))
                raw.send(b"0\r\n\r\n")
            elif body:
                raw.send(body)
            return raw.answer(method)

    def get(self, key, headers=()):
        return self.request("GET", f"/keys/{key}", headers=headers)

    def put(self, key, body, headers=()):
        return self.request("PUT", f"/keys/{key}", body, headers)

    def head(self, key):
        return self.request("HEAD", f"/keys/{key}")

    def delete(self, key):
        return self.request("DELETE", f"/keys/{key}")

    def list(self, query=None):
        """keys and prefixes; `query` as it is sent."""
        answer = self.request("GET", "/keys/" if query is None else f"/keys/?{query}")
        assert answer.status == 200, answer
        found = answer.json()
        return found["keys"], found["prefixes"]


class UnixHTTPConnection(http.client.HTTPConnection):
    """http.client on a Unix socket."""

    def __init__(self, path, timeout=30.0):
        super().__init__("localhost", timeout=timeout * SLOW)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)
