#!/usr/bin/env python3
"""A reverse proxy that stands between an S3 client and an S3 server, counts and breaks things.

    s3proxy.py --listen 127.0.0.1:0 --upstream 127.0.0.1:9000 --control unix:/tmp/ctl

prints the port it listens on and serves until SIGTERM (or, with --exit-with-stdin, until its
standard input ends). Requests pass through byte for byte, Host header included, so signatures stay
valid; bodies stream. Each request is named by its S3 operation, counted, written to a log, and may
be met by rules (s3proxy_rules.py) that delay it, hold it, break it or answer in the server's place.

s3proxy_client.py has `ProxyControl` and `ProxyProcess`, with which tests start and steer a proxy.
Only the standard library is used. What this does not do: TLS, HTTP/2, pipelined requests.
"""

import argparse
import asyncio
import collections
import fnmatch
import gc
import json
import os
import re
import signal
import socket
import sys
import time
import urllib.parse
import xml.sax.saxutils

import s3proxy_habits
import s3proxy_mangle
from s3proxy_list import Folders, Listing, own_objects, parse_page
from s3proxy_rules import NO_PLAN, Exchange, Plan, Rule
from s3proxy_wire import JOIN_BELOW, Body, Gone, Link, SpooledBody, parse_head, pump
from sigv4 import CannotSign, sign_again, signed_head

CHANGES = ("PutObject", "CopyObject", "DeleteObject", "CompleteMultipartUpload")
LOG_LIMIT = 500_000             # requests remembered
MAX_COMMAND = 8 * 1024 * 1024   # bytes of a line at the control socket: rules that name many keys

DEFAULT_CODES = {400: "InvalidRequest", 403: "AccessDenied", 404: "NoSuchKey",
                 409: "ConditionalRequestConflict", 412: "PreconditionFailed",
                 429: "TooManyRequests", 500: "InternalError", 501: "NotImplemented",
                 503: "SlowDown", 504: "GatewayTimeout"}
MESSAGES = {"SlowDown": "Please reduce your request rate.",
            "InternalError": "We encountered an internal error. Please try again.",
            "PreconditionFailed": "At least one of the pre-conditions you specified did not hold",
            "NoSuchKey": "The specified key does not exist."}
REASONS = {200: "OK", 204: "No Content", 206: "Partial Content", 304: "Not Modified",
           301: "Moved Permanently", 307: "Temporary Redirect",
           400: "Bad Request", 403: "Forbidden", 404: "Not Found", 409: "Conflict",
           412: "Precondition Failed", 416: "Range Not Satisfiable", 429: "Too Many Requests",
           500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable"}


def error_document(code, message, key):
    escape = xml.sax.saxutils.escape
    return (f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{escape(code)}</Code>'
            f"<Message>{escape(message)}</Message><Resource>/{escape(key)}</Resource>"
            f"<RequestId>S3PROXY0000000000</RequestId></Error>").encode()


def origin_form(head):
    """"GET http://host/path" of a client that takes us for its HTTP proxy: as to a server."""
    return re.sub(rb"\A(\S+) http://[^/ ]+", rb"\1 ", head)


def path_form(head, credentials):
    """Host: bucket.localhost, as a client with virtual-host addressing sends it: the bucket in the path, and
    marked so."""
    match = re.search(rb"\r\n[Hh]ost: ?([^\r.]+)\.(localhost[^\r]*)\r\n", head)
    if not match:
        return head
    bucket, host = match.groups()
    head = re.sub(rb"\A(\S+) /", rb"\1 /" + bucket + b"/", head)
    head = head[:-2] + b"x-proxy-virtual: 1\r\n\r\n"
    return sign_again(head, (), credentials, {"host": host.decode()})


class Proxy:
    """Everything that connections share: counts, log, rules, parked requests, the listener."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.loop = None
        self.port = None
        self.host = "127.0.0.1"
        self.reserve = self.server = None
        self.links = set()              # clients' connections
        self.tasks = set()              # of them; the event loop alone would let them be collected
        self.rules = []
        self.next_rule = 1
        self.latency = 0.0
        self.credentials = {}
        self.folders = Folders()
        self.locks = collections.defaultdict(asyncio.Lock)      # of keys: copy_conditions
        self.parked = {}                # name -> [(exchange number, future)]
        self.blocked = None             # None | "refuse" | "blackhole"
        self.unblocked = None
        self.changed = None             # future that is set when anything countable happened
        self.number = self.connections = 0
        self.in_flight = 0
        self.clear()

    def clear(self):
        self.log = collections.deque(maxlen=LOG_LIMIT)
        self.counts = collections.Counter()
        self.finished = collections.Counter()
        self.bytes_in = collections.Counter()       # request bodies, by operation
        self.bytes_out = collections.Counter()      # answer bodies
        self.new_connections = 0
        self.max_in_flight = self.in_flight

    # -- listening

    async def listen(self, host, port):
        """The port stays ours while the listener is closed: a second socket keeps it."""
        self.loop = asyncio.get_running_loop()
        self.unblocked = asyncio.Event()
        self.unblocked.set()
        self.reserve = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.reserve.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.reserve.bind((host, port))
        self.host, self.port = self.reserve.getsockname()
        await self._open()

    async def _open(self):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((self.host, self.port))
        self.server = await self.loop.create_server(
            lambda: Link(self.loop, on_open=self._accepted), sock=sock, backlog=512)

    def _accepted(self, link):
        self.connections += 1
        self.new_connections += 1
        connection = Connection(self, link, self.connections)
        self.links.add(link)
        task = self.loop.create_task(connection.run())
        self.tasks.add(task)
        task.add_done_callback(lambda t: self._closed(link, t))

    def _closed(self, link, task):
        self.links.discard(link)
        self.tasks.discard(task)
        if not task.cancelled() and task.exception():
            self.loop.call_exception_handler({"message": "connection failed",
                                              "exception": task.exception()})

    async def block(self, mode):
        if mode not in ("refuse", "blackhole"):
            raise ValueError("mode is refuse or blackhole")
        self.blocked = mode
        self.unblocked.clear()
        if mode == "refuse":
            if self.server:
                self.server.close()
                self.server = None
            for link in list(self.links):
                link.reset()

    async def unblock(self):
        was, self.blocked = self.blocked, None
        self.unblocked.set()
        if was == "refuse" and self.server is None:
            await self._open()

    # -- requests

    def begin(self, connection, head):
        first, headers = parse_head(head)
        self.number += 1
        x = Exchange(self.number, connection, first, headers, time.monotonic())
        self.counts[x.op, x.key] += 1
        self.log.append(x)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self.happened()
        return x

    def finish(self, x):
        x.end = time.monotonic()
        if x.sent is not None and x.status in (200, 204):
            self.folders.happened(x)
        self.in_flight -= 1
        self.finished[x.op, x.key] += 1
        self.bytes_in[x.op] += x.bytes_in
        self.bytes_out[x.op] += x.bytes_out
        self.happened()

    def plan(self, x):
        if not self.rules:
            return NO_PLAN
        plan = None
        for rule in self.rules:
            if plan and plan.ending and rule.action in Plan.ENDINGS:
                continue
            if rule.wants(x):
                plan = plan or Plan()
                plan.add(rule)
        if plan:
            x.faults = tuple(plan.names)
        return plan or NO_PLAN

    def happened(self):
        if self.changed and not self.changed.done():
            self.changed.set_result(None)

    async def wait_change(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        if self.changed is None or self.changed.done():
            self.changed = self.loop.create_future()
        await asyncio.wait([self.changed], timeout=left)
        return True

    async def park(self, name, x):
        """Waits until released; returns how to go on: forward, drop or reset. Does not wait where
        the rule went while the request was on its way: nobody would release it."""
        if all(r.params.get("name") != name for r in self.rules):
            return "forward"
        future = self.loop.create_future()
        self.parked.setdefault(name, []).append((x.number, future))
        self.happened()
        return await future

    def release(self, name, verdict, keep_rule):
        if verdict not in ("forward", "drop", "reset"):
            raise ValueError("verdict is forward, drop or reset")
        if not keep_rule:
            self.rules = [r for r in self.rules if r.params.get("name") != name]
        waiting = self.parked.pop(name, [])
        for _, future in waiting:
            if not future.done():
                future.set_result(verdict)
        return len(waiting)


class Stop(Exception):
    """The connection to the client is finished with; `reset` says how."""

    def __init__(self, reset=False):
        self.reset = reset


class Connection:
    """A client's connection and the one upstream that belongs to it."""

    def __init__(self, proxy, client, number):
        self.proxy, self.client, self.number = proxy, client, number
        self.up = None
        self.idle = True
        self.pumping = None
        self.locked = None              # the lock of the key that is being changed

    async def run(self):
        client = self.client
        try:
            while True:
                self.idle = True
                head = await client.read_until(b"\r\n\r\n")
                if head is None:
                    break
                self.idle = False
                head = path_form(origin_form(head), self.proxy.credentials)
                x = self.proxy.begin(self.number, head)
                try:
                    again = await self.exchange(x, head)
                except (Gone, OSError) as e:
                    x.error = x.error or str(e) or type(e).__name__
                    again = False
                finally:
                    self.unlock()
                    self.proxy.finish(x)
                if not again:
                    break
        except Stop as stop:
            if stop.reset:
                client.reset()
        except Gone:
            pass
        finally:
            if self.pumping:
                self.pumping.cancel()
            if self.up:
                self.up.reset() if not self.idle else self.up.close()
            client.close()

    def upstream_ended(self, link):
        """The server closed a connection on which nothing was going on: so do we."""
        if self.idle and link is self.up:
            self.client.close()

    async def connect(self):
        if self.up and not self.up.eof and not self.up.chunks:
            return self.up
        if self.up:                 # ended, or said something that nobody asked for
            self.up.close()
        loop = self.proxy.loop
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            await loop.sock_connect(sock, self.proxy.upstream)
            _, self.up = await loop.create_connection(
                lambda: Link(loop, sock=sock, on_end=self.upstream_ended), sock=sock)
        except OSError as e:
            sock.close()
            raise Gone(f"upstream: {e}") from None
        return self.up

    async def exchange(self, x, head):
        """Returns whether the connection can be used again."""
        proxy = self.proxy
        body = Body.of_request(self.client, x.headers)
        x.request_length = body.length
        plan = proxy.plan(x)
        await self.check_blocked()
        delay = proxy.latency + plan.delay_before
        if delay:
            await asyncio.sleep(delay)
        for hold in plan.holds:
            if hold["when"] == "before":
                if hold["detach"]:
                    self.say_continue(x)
                    body = await SpooledBody(body).fill()
                    x.headers.pop("expect", None)
                    head = sign_again(head, ("expect",), {})
                self.obey(await proxy.park(hold["name"], x))
        await self.check_blocked()
        if plan.is_("reset", when="before"):
            raise Stop(reset=True)
        if plan.is_("answer", acted=False):
            return await self.answer(x, body, plan.args)
        if plan.listing and x.op == "ListObjectsV2":
            text = await self.make_listing(x, plan.listing)
            return await self.answer(x, body, {"status": 200, "body": text,
                                               "headers": {"Content-Type": "application/xml"}})
        if plan.ending == "nolock" and any(c in x.headers for c in ("if-match", "if-none-match")):
            refused = await self.check_unlocked(x, plan.args)
            if refused:
                return await self.answer(x, body, refused)
            head = sign_again(head, ("if-match", "if-none-match"), proxy.credentials)
        if plan.habits:
            head, refused = s3proxy_habits.request(plan.habits, x, head, proxy.credentials)
            if refused:
                return await self.answer(x, body, refused)
        for flip in plan.flips:
            self.say_continue(x)
            body = await SpooledBody(body).fill()
            body.flip(int(body.length * flip["at"]))
            x.headers.pop("expect", None)
            head = sign_again(head, ("expect",), {})
        strip = list(plan.strip)
        if plan.copy_conditions and x.op in CHANGES:
            refused = await self.check_target(x, plan.copy_conditions, plan.strip)
            if refused:
                return await self.answer(x, body, refused)
            if x.op == "CopyObject":
                strip += ["if-match", "if-none-match"]
        if any(name in x.headers for name in plan.strip_missing):
            status, _ = await self.ask_head(x)
            strip += plan.strip_missing if status == 404 else []
        if strip:
            head = sign_again(head, strip, proxy.credentials)
        return await self.forward(x, head, body, plan)

    async def check_blocked(self):
        if self.proxy.blocked:
            await self.proxy.unblocked.wait()
            raise Stop(reset=True)

    @staticmethod
    def obey(verdict):
        if verdict != "forward":
            raise Stop(reset=verdict == "reset")

    def say_continue(self, x):
        if "expect" in x.headers:
            self.client.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # -- what the proxy says itself

    async def answer(self, x, body, args):
        """An answer of our own. The body of the request is taken first, unless early."""
        if args.get("early"):
            keep = body.done
        else:
            keep = True
            self.say_continue(x)
            await body.discard()
        x.bytes_in = body.seen
        self.client.write(self.own_answer(x, args, keep))
        return keep

    def own_answer(self, x, args, keep):
        status = args["status"]
        text = args.get("body")
        headers = dict(args.get("headers") or {})
        if text is None and (status >= 400 or args.get("code")):
            code = args.get("code") or DEFAULT_CODES.get(status, "InternalError")
            message = args.get("message") or MESSAGES.get(code, code)
            text = error_document(code, message, f"{x.bucket}/{x.key}")
            headers.setdefault("Content-Type", "application/xml")
        text = text.encode() if isinstance(text, str) else text or b""
        if args.get("retry_after") is not None:
            headers["Retry-After"] = str(args["retry_after"])
        if status not in (204, 304):
            headers["Content-Length"] = str(len(text))
        headers["Connection"] = "keep-alive" if keep else "close"
        x.status = status
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}"]
        lines += [f"{n}: {v}" for n, v in headers.items()]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        if x.method == "HEAD" or status in (204, 304):
            return head
        x.bytes_out += len(text)
        return head + text

    async def check_unlocked(self, x, args):
        """A server without locks: looks first, acts later. Returns the refusal, or None."""
        status, headers = await self.ask_head(x)
        etag = headers.get("etag", "").strip('"')
        want, unwanted = x.headers.get("if-match"), x.headers.get("if-none-match")
        if want is not None:
            if status == 404:
                return {"status": 404, "code": "NoSuchKey"}
            if want.strip('"') not in (etag, "*"):
                return {"status": 412}
        if unwanted is not None and status != 404 and unwanted.strip('"') in (etag, "*"):
            return {"status": 412}
        if args["pause_ms"]:
            await asyncio.sleep(args["pause_ms"] / 1000)
        if args["name"]:
            self.obey(await self.proxy.park(args["name"], x))
        return None

    async def check_target(self, x, args, strip):
        """A server that keeps conditions on the target of a copy. Returns the refusal, or None."""
        if not args["unlocked"]:
            self.locked = self.proxy.locks[x.bucket, x.key]
            await self.locked.acquire()
        want, unwanted = (None if name in strip else x.headers.get(name)
                          for name in ("if-match", "if-none-match"))
        if x.op != "CopyObject" or want is None and unwanted is None:
            return None
        status, headers = await self.ask_head(x)
        if unwanted is not None and status != 404:
            return {"status": 412}
        if want is not None and status == 404:
            return {"status": 404, "code": "NoSuchKey"}
        if want is not None and want.strip('"') != headers.get("etag", "").strip('"'):
            return {"status": 412}
        return None

    def unlock(self):
        locked, self.locked = self.locked, None
        if locked:
            locked.release()

    async def ask_head(self, x):
        path = "/" + urllib.parse.quote(f"{x.bucket}/{x.key}", safe="/-_.~")
        status, headers, _ = await self.ask(x, "HEAD", path, "")
        return status, headers

    async def ask(self, x, method, path, query):
        """A request of our own, with the credentials of that one: (status, headers, body)."""
        match = re.match(r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d+/([^/]+)/",
                         x.headers.get("authorization", ""))
        if not match or match.group(1) not in self.proxy.credentials:
            raise CannotSign("this rule needs the credentials of the request")
        host, port = self.proxy.upstream
        head = signed_head(method, f"{host}:{port}", path, query, match.group(1),
                           self.proxy.credentials[match.group(1)], match.group(2),
                           {"connection": "close"})
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(head)
            answer = await reader.readuntil(b"\r\n\r\n")
            first, headers = parse_head(answer)
            body = b"" if method == "HEAD" else await self.read_own(reader, headers)
        except asyncio.IncompleteReadError:
            raise Gone(f"upstream: no answer to {method}") from None
        finally:
            writer.close()
        return int(first.split(" ", 2)[1]), headers, body

    @staticmethod
    async def read_own(reader, headers):
        if "content-length" in headers:
            return await reader.readexactly(int(headers["content-length"]))
        data = await reader.read()
        if headers.get("transfer-encoding", "") != "chunked":
            return data
        out = b""
        while data:
            size, _, data = data.partition(b"\r\n")
            out, data = out + data[:int(size, 16)], data[int(size, 16) + 2:]
        return out

    async def make_listing(self, x, rule):
        """Everything below the prefix, asked for page by page, becomes one page of the rule's."""
        objects, token = own_objects(rule), ""
        while token is not None and not rule["only_keys"]:
            query = "list-type=2&encoding-type=url&prefix=" + urllib.parse.quote(x.key, safe="")
            if token:
                query += "&continuation-token=" + urllib.parse.quote(token, safe="")
            status, _, data = await self.ask(x, "GET", f"/{x.bucket}", query)
            if status != 200:
                raise Gone(f"upstream: {status} to a listing")
            page, token = parse_page(data)
            objects.update(page)
        folders = self.proxy.folders.known.get(x.bucket, ()) if rule["folders"] else ()
        return Listing(x.query, rule, objects, folders).document()

    # -- what the server says

    async def forward(self, x, head, body, plan):
        up = await self.connect()
        await self.send_request(x, up, head, body, plan)
        # (What may change something is awaited although the client has gone: given up, it would be done by the
        # server after the request had ended here, after its lock, after wait_idle. A body that ends with its
        # client is given up by pump_request.)
        if x.method in ("GET", "HEAD"):
            self.client.on_end = lambda _: up.reset()
            if self.client.eof:
                up.reset()
        try:
            answer, first, headers = await self.read_answer(x, up)
        finally:
            self.client.on_end = None
            self.unlock()
        body_out = Body.of_answer(up, x.method, x.status, headers)
        try:
            await self.send_answer(x, answer, headers, body_out, plan)
        finally:
            x.bytes_in = body.seen
            x.bytes_out += body_out.seen
        if not await self.finish_request(up, body):
            return False
        closing = ("close" in headers.get("connection", "").lower() or body_out.kind == "close"
                   or first.startswith("HTTP/1.0"))
        if closing:
            up.close()
            self.up = None
        return not closing and x.headers.get("connection", "").lower() != "close"

    async def send_request(self, x, up, head, body, plan):
        """Sends head and body; a body that is not here yet is sent by a task of its own, since
        the answer may come before it is through."""
        x.sent = time.monotonic()
        mid = [h for h in plan.holds if h["when"] == "mid"]
        cut = plan.ending == "cut_request"
        if cut or mid:
            up.write(head)
            await self.send_half(x, up, body, plan, mid, cut)
        elif body.done:
            up.write(head)
        elif isinstance(body, Body) and body.kind == "length" and body.link.size >= body.left \
                and body.left < JOIN_BELOW:
            parts = [head]
            while not body.done:
                parts.append(await body.piece())
            up.write(b"".join(parts))
            return
        else:
            up.write(head)
        if not body.done:
            self.pumping = self.proxy.loop.create_task(self.pump_request(up, body))

    async def send_half(self, x, up, body, plan, mid, cut):
        """Half of the body; then the connection ends, or the request waits to be released."""
        if "expect" in x.headers:
            if await up.read_until(b"\r\n\r\n") is None:
                raise Gone("upstream closed")
            self.client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await pump(body, up, body.stop_at(plan.args["at"] if cut else 0.5))
        x.bytes_in = body.seen
        if cut:
            up.close()
            raise Stop(reset=True)
        for hold in mid:
            self.obey(await self.proxy.park(hold["name"], x))

    async def pump_request(self, up, body):
        try:
            await pump(body, up)
        except Gone:
            if not body.done and not up.eof and self.client.eof:
                up.reset()              # the client went away in the middle of its body

    async def read_answer(self, x, up):
        while True:
            answer = await up.read_until(b"\r\n\r\n")
            if answer is None:
                x.error = "upstream closed without an answer"
                raise Stop()
            first, headers = parse_head(answer)
            status = int(first.split(" ", 2)[1])
            if status >= 200:
                x.status, x.etag = status, headers.get("etag")
                return answer, first, headers
            self.client.write(answer)

    async def send_answer(self, x, answer, headers, body, plan):
        client = self.client
        if plan.delay_after:
            await asyncio.sleep(plan.delay_after)
        for hold in plan.holds:
            if hold["when"] == "after":
                self.obey(await self.proxy.park(hold["name"], x))
        if plan.ending == "drop" or plan.is_("reset", when="after"):
            await body.discard()
            x.status = None
            if plan.args.get("ms"):
                await asyncio.sleep(plan.args["ms"] / 1000)
            raise Stop(reset=plan.ending == "reset")
        if plan.ending == "mangle":
            end = await s3proxy_mangle.send(x, plan.args, answer, body, client)
            if end == "wait":
                await client.ended()
            if end != "ok":
                raise Stop(reset=end == "reset")
            return
        if plan.is_("answer", acted=True):
            await body.discard()
            client.write(self.own_answer(x, plan.args, True))
            body.seen = 0
            return
        for rewrite in plan.rewrites:
            if rewrite["from_status"] in (None, x.status):
                answer = await self.rewritten(x, answer, headers, body, rewrite)
                break
        if plan.habits:
            text = b""
            while (piece := await body.piece()) is not None:
                text += piece
            client.write(s3proxy_habits.answer(plan.habits, x.method, answer, text))
            return
        if plan.ending == "cut_response":
            client.write(answer)
            await pump(body, client, body.stop_at(plan.args["at"]))
            await client.drain()
            raise Stop(reset=plan.args["reset"])
        if body.kind == "length" and body.link.size >= body.left and body.left < JOIN_BELOW:
            parts = [answer]
            while not body.done:
                parts.append(await body.piece())
            client.write(b"".join(parts))
            return
        client.write(answer)
        await pump(body, client)

    async def rewritten(self, x, answer, headers, body, args):
        lines = answer[:-4].split(b"\r\n")
        status = args["status"]
        lines[0] = f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}".encode()
        replaced = {n.lower(): str(v) for n, v in args["headers"].items()}
        text = args["body"]
        if text is not None:
            await body.discard()
            body.seen = 0
            replaced["content-length"] = str(len(text.encode()))
        lines = [line for line in lines
                 if line.partition(b":")[0].decode("latin-1").lower() not in replaced]
        lines += [f"{n}: {v}".encode() for n, v in replaced.items()]
        x.status = status
        out = b"\r\n".join(lines) + b"\r\n\r\n"
        if text is not None and x.method != "HEAD":
            out += text.encode()
            x.bytes_out += len(text.encode())
        return out

    async def finish_request(self, up, body):
        """After an answer that came before the request was through: the rest of the request, or
        the end of the connection, whichever comes first."""
        task, self.pumping = self.pumping, None
        if task is None:
            return True
        if not task.done() and "expect" not in self.expects(body):
            ended = self.proxy.loop.create_task(up.ended())
            await asyncio.wait([task, ended], return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
        if not task.done():
            task.cancel()
            return False
        return body.done and not up.eof

    @staticmethod
    def expects(body):
        """An answer before any of the body was sent: whether it will come cannot be known."""
        return ("expect",) if body.seen == 0 and not body.done else ()


# ---------------------------------------------------------------------------------------------
# The control socket: one JSON object a line, one answer a line


class Control:
    def __init__(self, proxy):
        self.proxy = proxy

    async def serve(self, reader, writer):
        try:
            while line := await reader.readline():
                try:
                    args = json.loads(line)
                    result = await getattr(self, "do_" + args.pop("do"))(**args)
                    answer = {"ok": result}
                except Exception as e:          # told to the test, which fails
                    answer = {"error": f"{type(e).__name__}: {e}"}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    @staticmethod
    def _sum(counter, op, key):
        return sum(n for (o, k), n in counter.items()
                   if (op is None or o == op) and (key is None or fnmatch.fnmatchcase(k, key)))

    async def do_counts(self):
        out = collections.Counter()
        for (op, _), n in self.proxy.counts.items():
            out[op] += n
        return out

    async def do_counts_by_key(self):
        return [[op, key, n] for (op, key), n in self.proxy.counts.items()]

    async def do_reset_counts(self):
        self.proxy.clear()

    async def do_log(self, op=None, key=None):
        return [x.as_dict() for x in self.proxy.log
                if (op is None or x.op == op)
                and (key is None or fnmatch.fnmatchcase(x.key, key))]

    async def do_bytes(self):
        return {"in": self.proxy.bytes_in, "out": self.proxy.bytes_out}

    async def do_state(self):
        p = self.proxy
        return {"in_flight": p.in_flight, "max_in_flight": p.max_in_flight,
                "connections": len(p.links), "new_connections": p.new_connections,
                "blocked": p.blocked, "rules": [r.describe() for r in p.rules],
                "held": {n: len(w) for n, w in p.parked.items()}}

    async def do_set_latency(self, ms):
        self.proxy.latency = ms / 1000

    async def do_set_credentials(self, access, secret):
        self.proxy.credentials[access] = secret

    async def do_set_upstream(self, host, port):
        self.proxy.upstream = (host, port)

    async def do_add_rule(self, action, args):
        rule = Rule(self.proxy.next_rule, action, args)
        self.proxy.next_rule += 1
        self.proxy.rules.append(rule)
        return rule.number

    async def do_remove_rule(self, number):
        self.proxy.rules = [r for r in self.proxy.rules if r.number != number]

    async def do_clear_rules(self):
        self.proxy.rules = []
        for name in list(self.proxy.parked):
            self.proxy.release(name, "forward", False)

    async def do_release(self, name, verdict, keep_rule):
        return self.proxy.release(name, verdict, keep_rule)

    async def do_wait_held(self, name, count, timeout):
        deadline = time.monotonic() + timeout
        while len(self.proxy.parked.get(name, ())) < count:
            if not await self.proxy.wait_change(deadline):
                return False
        return True

    async def do_wait_count(self, count, op, key, finished, timeout):
        deadline = time.monotonic() + timeout
        while True:
            seen = self._sum(self.proxy.finished if finished else self.proxy.counts, op, key)
            if seen >= count:
                return True
            if not await self.proxy.wait_change(deadline):
                return False

    async def do_wait_idle(self, timeout):
        """What has come to the sockets counts: a connection is accepted, read and begun within these turns."""
        deadline = time.monotonic() + timeout
        for _ in range(8):
            await asyncio.sleep(0)
        while self.proxy.in_flight:
            if not await self.proxy.wait_change(deadline):
                return False
        return True

    async def do_block(self, mode):
        await self.proxy.block(mode)

    async def do_unblock(self):
        await self.proxy.unblock()


async def amain(args):
    loop = asyncio.get_running_loop()
    host, _, port = args.upstream.rpartition(":")
    proxy = Proxy((host, int(port)))
    for pair in args.credentials:
        access, _, secret = pair.partition(":")
        proxy.credentials[access] = secret
    host, _, port = args.listen.rpartition(":")
    await proxy.listen(host or "127.0.0.1", int(port))
    proxy.latency = args.latency / 1000
    control = None
    path = args.control.removeprefix("unix:") if args.control else None
    if path:
        control = await asyncio.start_unix_server(Control(proxy).serve, path, limit=MAX_COMMAND)
    stop = asyncio.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sig, stop.set)
    if args.exit_with_stdin:
        loop.add_reader(0, lambda: os.read(0, 4096) or (loop.remove_reader(0), stop.set()))
    print(proxy.port, flush=True)
    await stop.wait()
    if control:
        control.close()
        os.unlink(path)
    for link in list(proxy.links):
        link.reset()


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--upstream", required=True, metavar="HOST:PORT")
    parser.add_argument("--control", metavar="unix:PATH")
    parser.add_argument("--latency", type=float, default=0, metavar="MS")
    parser.add_argument("--credentials", action="append", default=[], metavar="KEY:SECRET",
                        help="lets the proxy sign requests again")
    parser.add_argument("--exit-with-stdin", action="store_true")
    asyncio.run(amain(parser.parse_args(argv)))


def template(sock):
    """A proxy for each message: its arguments, with its stdin, stdout and stderr; answered by its
    pid. It is a fork of this process, which has read all the code: a tenth of the time that a
    new process takes."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)       # the kernel reaps them
    gc.freeze()             # a collection there would copy each page of the code
    while True:
        message, fds, _, _ = socket.recv_fds(sock, MAX_COMMAND, 3)
        if not message:
            return
        pid = os.fork()
        if pid == 0:
            sock.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for i, fd in enumerate(fds):
                os.dup2(fd, i)
                os.close(fd)
            main(json.loads(message))
            return
        for fd in fds:
            os.close(fd)
        sock.send(str(pid).encode())


if __name__ == "__main__":
    if sys.argv[1:] == ["--template"]:
        template(socket.socket(fileno=os.dup(0)))
    else:
        main()
