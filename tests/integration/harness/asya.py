"""What the stock client of Asya's connectors does with the socket, as its protocol describes it: one connection for each
operation, requests of http.client, and the exceptions that handlers see."""

import errno
import json
import os
import tempfile

from .connector import UnixHTTPConnection

EXCEPTIONS = {400: ValueError, 403: PermissionError, 404: FileNotFoundError, 409: FileExistsError,
              412: FileExistsError, 503: ConnectionError, 504: TimeoutError}
SPOOL = 4 << 20
PIECE = 8 << 10


def raise_for(status, body, name):
    if status < 400:
        return
    try:
        message = json.loads(body).get("message", "")
    except (ValueError, AttributeError):
        message = ""
    message = message or f"HTTP {status}: {name}"
    if status == 413:
        raise OSError(errno.EFBIG, message)
    raise EXCEPTIONS.get(status, OSError)(message)


class Client:
    def __init__(self, path, streams=False):
        """streams: open for writing sends as it is written (write=passthrough)."""
        self.path, self.streams = path, streams

    def ask(self, method, target, body=None, headers=()):
        conn = UnixHTTPConnection(self.path)
        try:
            conn.putrequest(method, target)
            for name, value in headers:
                conn.putheader(name, value)
            conn.endheaders()
            for at in range(0, len(body or b""), PIECE):
                conn.send(body[at:at + PIECE])
            answer = conn.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            conn.close()

    # -- files

    def open(self, name, mode="r"):
        if "r" in mode:
            return self._read(name, "b" in mode)
        if "x" not in mode and self.streams:
            return Stream(self, name, "b" in mode)
        return Buffered(self, name, "b" in mode, "x" in mode)

    def _read(self, name, binary):
        conn = UnixHTTPConnection(self.path)
        conn.request("GET", f"/keys/{name}")
        answer = conn.getresponse()
        if answer.status >= 400:
            body = answer.read()
            conn.close()
            raise_for(answer.status, body, name)
        assert "Content-Length" in answer.headers
        spool = tempfile.SpooledTemporaryFile(SPOOL)
        while piece := answer.read(PIECE):
            spool.write(piece)
        conn.close()
        spool.seek(0)
        if binary:
            return spool
        import io
        return io.TextIOWrapper(io.BytesIO(spool.read()), "utf-8")

    # -- names

    def stat_size(self, name):
        status, headers, body = self.ask("HEAD", f"/keys/{name}")
        raise_for(status, body, name)
        assert headers.get("X-Is-File", "true").lower() == "true"
        return int(headers["Content-Length"])

    def exists(self, name):
        try:
            self.stat_size(name)
        except OSError:
            return False
        return True

    def listdir(self, name):
        prefix = f"{name}/" if name else ""
        status, _, body = self.ask("GET", f"/keys/?prefix={prefix}&delimiter=/")
        raise_for(status, body, name)
        found = json.loads(body)
        names = [n[len(prefix):].rstrip("/") for n in found["keys"] + found["prefixes"]]
        return [n for n in names if n]

    def remove(self, name):
        status, _, body = self.ask("DELETE", f"/keys/{name}")
        raise_for(status, body, name)

    # -- attributes

    def listxattr(self, name):
        status, _, body = self.ask("GET", f"/meta/{name}")
        raise_for(status, body, name)
        return [f"user.asya.{a}" for a in json.loads(body)["attrs"]]

    def getxattr(self, name, attr):
        status, _, body = self.ask("GET", f"/meta/{name}?attr={attr}")
        if status == 400:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        raise_for(status, body, name)
        return json.loads(body)["value"].encode()

    def setxattr(self, name, attr, value):
        body = json.dumps({"value": value.decode()}).encode()
        status, _, answer = self.ask("PUT", f"/meta/{name}?attr={attr}", body,
                                     [("Content-Length", str(len(body))),
                                      ("Content-Type", "application/json")])
        if status == 400:
            raise OSError(errno.ENODATA, os.strerror(errno.ENODATA))
        raise_for(status, answer, name)


class Buffered:
    """Sends everything at close."""

    def __init__(self, client, name, binary, exclusive):
        self.client, self.name, self.binary, self.exclusive = client, name, binary, exclusive
        self.data = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def write(self, data):
        self.data += data if self.binary else data.encode()
        return len(data)

    def close(self):
        headers = [("Content-Length", str(len(self.data)))]
        if self.exclusive:
            headers.append(("If-None-Match", "*"))
        status, _, body = self.client.ask("PUT", f"/keys/{self.name}", self.data, headers)
        raise_for(status, body, self.name)


class Stream:
    """Each write is a chunk."""

    def __init__(self, client, name, binary):
        self.name, self.binary = name, binary
        self.conn = UnixHTTPConnection(client.path)
        self.conn.putrequest("PUT", f"/keys/{name}")
        self.conn.putheader("Transfer-Encoding", "chunked")
        self.conn.endheaders()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def write(self, data):
        data = data if self.binary else data.encode()
        self.conn.send(b"%x\r\n%s\r\n" % (len(data), data))
        return len(data)

    def close(self):
        self.conn.send(b"0\r\n\r\n")
        answer = self.conn.getresponse()
        body = answer.read()
        self.conn.close()
        raise_for(answer.status, body, self.name)
