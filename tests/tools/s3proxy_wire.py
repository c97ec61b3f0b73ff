"""The proxy's connections and message bodies: HTTP/1.1 as it is on the wire, nothing about S3."""

import asyncio
import collections
import os
import socket
import struct
import tempfile

MAX_HEAD = 64 * 1024
READ_AHEAD = 1024 * 1024        # bytes of one connection that may wait here
WRITE_HIGH = 512 * 1024         # bytes waiting to be sent before the other side is held back
JOIN_BELOW = 64 * 1024          # head and body in one write below this
SPOOL_MEMORY = 1024 * 1024      # a detached request's body beyond this goes to a temporary file


class Gone(Exception):
    """The other side of a connection went away."""


class Link(asyncio.Protocol):
    """One TCP connection. What comes in is queued (and held back beyond READ_AHEAD); what goes out
    is written at once and held back by drain()."""

    def __init__(self, loop, sock=None, on_open=None, on_end=None):
        self.loop = loop
        self.sock = sock                # only where bytes may have to be saved after an error
        self.on_open, self.on_end = on_open, on_end
        self.transport = None
        self.chunks = collections.deque()
        self.size = 0
        self.eof = self.lost = False
        self.read_paused = self.write_paused = False
        self.reader = self.writer = self.ender = None

    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH)
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.on_open:
            self.on_open(self)

    def data_received(self, data):
        self.chunks.append(data)
        self.size += len(data)
        if self.size > READ_AHEAD and not self.read_paused:
            self.read_paused = True
            self.transport.pause_reading()
        self._wake_reader()

    def eof_received(self):
        self.eof = True
        self._wake_reader()
        self._ended()
        return True                     # stay open for what we still have to say

    def connection_lost(self, exc):
        if exc is not None and self.sock is not None:
            self._save_rest()
        self.eof = self.lost = True
        self._wake_reader()
        self._wake_writer()
        self._ended()

    def _save_rest(self):
        """A failed send ends a transport at once, but an answer may already be here."""
        try:
            while data := self.sock.recv(READ_AHEAD):
                self.chunks.append(data)
                self.size += len(data)
        except OSError:
            pass

    def _ended(self):
        if self.ender and not self.ender.done():
            self.ender.set_result(None)
        if self.on_end:
            self.on_end(self)

    def pause_writing(self):
        self.write_paused = True

    def resume_writing(self):
        self.write_paused = False
        self._wake_writer()

    def _wake_reader(self):
        if self.reader and not self.reader.done():
            self.reader.set_result(None)

    def _wake_writer(self):
        if self.writer and not self.writer.done():
            self.writer.set_result(None)

    def _took(self, count):
        self.size -= count
        if self.read_paused and self.size < READ_AHEAD // 2 and not self.lost:
            self.read_paused = False
            self.transport.resume_reading()

    async def readable(self):
        while not self.chunks and not self.eof:
            self.reader = self.loop.create_future()
            await self.reader

    async def ended(self):
        if not self.eof:
            self.ender = self.loop.create_future()
            await self.ender

    async def read_some(self, limit):
        """Up to `limit` bytes; b"" at the end."""
        if not self.chunks:
            await self.readable()
            if not self.chunks:
                return b""
        data = self.chunks.popleft()
        if len(data) > limit:
            self.chunks.appendleft(data[limit:])
            data = data[:limit]
        self._took(len(data))
        return data

    async def read_until(self, mark, limit=MAX_HEAD):
        """Bytes up to and including `mark`; None if the connection ended before any came."""
        got = b""
        while True:
            while self.chunks:
                got = got + self.chunks.popleft() if got else self.chunks.popleft()
                end = got.find(mark)
                if end >= 0:
                    end += len(mark)
                    if len(got) > end:
                        self.chunks.appendleft(got[end:])
                    self._took(end)
                    return got[:end]
                if len(got) > limit:
                    raise Gone(f"no {mark!r} within {limit} bytes")
            if self.eof:
                if got:
                    raise Gone("ended in the middle of a head")
                return None
            await self.readable()

    def write(self, data):
        if self.lost or self.transport.is_closing():    # closing: a send failed just now
            raise Gone("write to a closed connection")
        self.transport.write(data)

    async def drain(self):
        while self.write_paused and not self.lost:
            self.writer = self.loop.create_future()
            await self.writer
        if self.lost:
            raise Gone("write to a closed connection")

    def close(self):
        if self.transport and not self.lost:
            self.transport.close()

    def reset(self):
        """Ends the connection by RST, dropping what was not sent."""
        if self.transport and not self.lost:
            raw = self.transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()


class Body:
    """The body of a request or an answer, read from a link piece by piece as it is on the wire
    (chunk framing included). `length` is None where only the wire tells the end."""

    def __init__(self, link, kind, length=0):
        self.link, self.kind = link, kind       # none | length | chunked | close
        self.length = length if kind == "length" else 0 if kind == "none" else None
        self.left = self.length
        self.state = "size"
        self.done = kind == "none" or self.length == 0
        self.seen = 0

    @classmethod
    def of_request(cls, link, headers):
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return cls(link, "chunked")
        return cls(link, "length", int(headers.get("content-length") or 0))

    @classmethod
    def of_answer(cls, link, method, status, headers):
        if method == "HEAD" or status in (204, 304) or status < 200:
            return cls(link, "none")
        if "chunked" in headers.get("transfer-encoding", "").lower():
            return cls(link, "chunked")
        if "content-length" in headers:
            return cls(link, "length", int(headers["content-length"]))
        return cls(link, "close")

    async def piece(self):
        """The next bytes, or None after the last."""
        if self.done:
            return None
        if self.kind == "length":
            data = await self.link.read_some(self.left)
            if not data:
                raise Gone("body cut")
            self.left -= len(data)
            self.done = self.left == 0
        elif self.kind == "close":
            data = await self.link.read_some(1 << 40)
            if not data:
                self.done = True
                return None
        else:
            data = await self._chunked_piece()
        self.seen += len(data)
        return data

    async def _chunked_piece(self):
        if self.state == "data":
            data = await self.link.read_some(self.left)
            if not data:
                raise Gone("body cut")
            self.left -= len(data)
            if self.left == 0:
                self.state = "size"
            return data
        line = await self.link.read_until(b"\r\n")
        if line is None:
            raise Gone("body cut")
        if self.state == "size":
            size = int(line.split(b";")[0], 16)
            self.state, self.left = ("data", size + 2) if size else ("trailer", 0)
        elif line == b"\r\n":
            self.done = True
        return line

    async def discard(self):
        while await self.piece() is not None:
            pass

    def give_back(self, data, count):
        """Puts the last `count` bytes of the piece `data` back. Not of a chunked body, which is
        left whole between pieces."""
        if self.kind == "chunked":
            return False
        self.link.chunks.appendleft(data[len(data) - count:])
        self.link.size += count
        self.seen -= count
        self.done = False
        if self.left is not None:
            self.left += count
        return True

    def stop_at(self, at):
        """Where a cut at fraction or byte `at` falls, in bytes of the wire."""
        if at >= 1:
            return int(at)
        return int(self.length * at) if self.length is not None else 1024


class SpooledBody:
    """A body that was read whole, to be sent when its client may be gone."""

    def __init__(self, body):
        self.body = body
        self.length = body.length
        self.done = False
        self.seen = 0
        self.file = tempfile.SpooledTemporaryFile(max_size=SPOOL_MEMORY)

    async def fill(self):
        while (data := await self.body.piece()) is not None:
            self.file.write(data)
        self.file.seek(0)
        return self

    def flip(self, at):
        """Another bit in the byte at this offset."""
        self.file.seek(at)
        byte = self.file.read(1)
        self.file.seek(at)
        self.file.write(bytes([byte[0] ^ 1]) if byte else b"")
        self.file.seek(0)

    async def piece(self):
        data = self.file.read(256 * 1024)
        self.seen += len(data)
        if not data:
            self.done = True
            self.file.close()
            return None
        return data

    def give_back(self, data, count):
        self.file.seek(-count, os.SEEK_CUR)
        self.seen -= count
        return True

    async def discard(self):
        self.file.close()
        self.done = True

    stop_at = Body.stop_at


async def pump(body, out, stop=None):
    """Sends a body to a link, up to about `stop` bytes of it. True if it ended."""
    while not body.done:
        data = await body.piece()
        if data is None:
            break
        over = body.seen - stop if stop is not None else 0
        if over > 0 and body.give_back(data, over):
            data = data[:len(data) - over]
        out.write(data)
        if out.write_paused:
            await out.drain()
        if stop is not None and body.seen >= stop and not body.done:
            return False
    return True


def parse_head(head):
    """(first line, lower-case header dict)."""
    lines = head[:-4].decode("latin-1").split("\r\n")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return lines[0], headers
