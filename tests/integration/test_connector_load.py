"""Load on the connector: mixed requests of many clients while workers are killed; no answer is wrong, and nothing stays."""

import concurrent.futures
import os
import random
import threading
import time

import pytest

from harness import SLOW, util
from harness.connector import UnixHTTPConnection
from harness.pattern import pattern
from test_connector import start, variant       # noqa: F401
from test_stream import spool_bytes

CLIENTS = 64
REQUESTS = int(os.environ.get("STATEPROXY_TEST_LOAD", "2000"))
KEYS = 5                                        # of each client
SIZES = [0, 10, 1000, 1000, 70000]
BIG = 5 << 20                                   # on disk, and in parts where bodies are streamed
LATE = 10 * SLOW                                # seconds after which a lost change is not made any more
LIMIT = 60 + REQUESTS / 50


class Key:
    """What its one client may find there; None: nothing. A change whose answer never came was made or not. As the request
    of a worker that was killed may still be on its way in the server, it may also be made a little later."""

    def __init__(self):
        self.sure, self.late = {None}, {}
        self.disturbed = False                  # since the last change that was answered

    @property
    def options(self):
        now = time.monotonic()
        return self.sure | {body for body, until in self.late.items() if now < until}

    def is_now(self, body):
        self.sure = {body}

    def unknown(self, body):
        self.sure = self.sure | {body}
        self.late[body] = time.monotonic() + LATE
        self.disturbed = True


class Client:
    """Its requests, on one connection after the other. Each key belongs to one client, which knows what it
    has to find there."""

    def __init__(self, con, number, compares):
        self.path, self.number, self.compares = con.path, number, compares
        self.rng = random.Random(number)
        self.keys = {f"load/{number}/{i}": Key() for i in range(KEYS)}
        self.conn = UnixHTTPConnection(con.path)
        self.wrong, self.cut, self.done = [], 0, {}
        self.calls = [self.get, self.get, self.range, self.put, self.put_chunks, self.create, self.head, self.delete,
                      self.list, self.meta]

    def run(self, count):
        for _ in range(count):
            call = self.rng.choice(self.calls)
            name = self.rng.choice(list(self.keys))
            try:
                call(name, self.keys[name])
            except (ConnectionError, OSError):
                self.cut += 1                   # the worker was killed
                self.conn.close()
            except Exception as e:
                self.wrong.append(f"{call.__name__} {name}: {e!r}")
                self.conn.close()
            self.done[call.__name__] = self.done.get(call.__name__, 0) + 1
        self.conn.close()

    def ask(self, method, target, body=None, headers=(), **kwargs):
        self.conn.request(method, target, body, dict(headers), **kwargs)
        answer = self.conn.getresponse()
        return answer.status, answer.headers, answer.read()

    def body(self):
        big = self.rng.randrange(2000) == 0
        size = BIG if big else self.rng.choice(SIZES)
        return pattern(size, self.rng.randrange(1 << 20))

    def expect(self, right, *what):
        if not right:
            self.wrong.append(" ".join(str(x)[:100] for x in what))

    # -- requests

    def get(self, name, key):
        status, _, data = self.ask("GET", f"/keys/{name}")
        found = data if status == 200 else None
        self.expect(status in (200, 404) and found in key.options, "GET", name, status, data)
        key.is_now(found)

    def range(self, name, key):
        status, headers, data = self.ask("GET", f"/keys/{name}", headers={"Range": "bytes=3-500"})
        if status == 206:
            right = any(o and o[3:501] == data and headers["Content-Range"].endswith(f"/{len(o)}") for o in key.options)
        else:
            right = status == 404 and None in key.options or status == 416 and any(
                o is not None and len(o) < 4 for o in key.options)
        self.expect(right, "range", name, status, data)

    def change(self, key, body, method, target, sent=None, headers=(), **kwargs):
        try:
            return self.ask(method, target, sent, headers, **kwargs)[0]
        except (ConnectionError, OSError):
            key.unknown(body)
            raise

    def after_change(self, what, name, key, status, body, refused=()):
        """409 is right where this client cannot know what a change of its own has done."""
        if status == 204:
            key.is_now(body)
            key.disturbed = False
        elif not (status == 409 and self.compares and key.disturbed):
            self.expect(status in refused, what, name, status)

    def put(self, name, key):
        body = self.body()
        self.after_change("PUT", name, key, self.change(key, body, "PUT", f"/keys/{name}", body), body)

    def put_chunks(self, name, key):
        body = self.body()
        step = max(1000, len(body) // 7)
        chunks = iter([body[at:at + step] for at in range(0, len(body), step)])
        status = self.change(key, body, "PUT", f"/keys/{name}", chunks, {"Transfer-Encoding": "chunked"},
                             encode_chunked=True)
        self.after_change("PUT chunked", name, key, status, body)

    def create(self, name, key):
        body = self.body()
        status = self.change(key, body, "PUT", f"/keys/{name}", body, {"If-None-Match": "*"})
        if status == 204:
            self.expect(None in key.options, "created", name)
            key.is_now(body)
            key.disturbed = False
        else:
            self.expect(status == 409 and key.options != {None}, "create", name, status)

    def head(self, name, key):
        status, headers, _ = self.ask("HEAD", f"/keys/{name}")
        if status == 204:
            right = any(o is not None and len(o) == int(headers["Content-Length"]) for o in key.options)
        else:
            right = status == 404 and None in key.options
        self.expect(right, "HEAD", name, status, headers)

    def delete(self, name, key):
        status = self.change(key, None, "DELETE", f"/keys/{name}")
        if status == 404:
            self.expect(None in key.options, "DELETE", name, status)
            key.is_now(None)
        else:
            self.after_change("DELETE", name, key, status, None)

    def list(self, *_):
        status, _, data = self.ask("GET", f"/keys/?prefix=load/{self.number}/&delimiter=/")
        found = data.decode()
        right = status == 200 and all(f'"{name}"' in found or None in key.options for name, key in self.keys.items())
        right = right and all(key.options != {None} or f'"{name}"' not in found for name, key in self.keys.items())
        self.expect(right, "LIST", status, data)

    def meta(self, name, key):
        status, _, data = self.ask("GET", f"/meta/{name}?attr=etag")
        self.expect(status == 200 and key.options != {None} or status == 404 and None in key.options, "META", name,
                    status, data)


def leftovers(con):
    """What is still held: sessions, requests, bytes of bodies."""
    return con.daemon.ctl("sessions", "--json").out.strip(), con.daemon.inflight(), spool_bytes(con.daemon)


@pytest.mark.slow
@pytest.mark.limit(LIMIT)
def test_load_with_killed_workers(start, variant, bucket):      # noqa: F811
    """STATEPROXY_TEST_LOAD requests, with workers killed in between: no wrong answer, no leak."""
    con = start(variant, env={"STATEPROXY_UPLOAD_PART_SIZE": "5Mi"})
    clients = [Client(con, i, variant == "s3-buffered-cas") for i in range(CLIENTS)]
    done, kills = threading.Event(), 0

    def kill():
        nonlocal kills
        rng = random.Random(1)
        while not done.wait(0.4 * SLOW):
            pids = con.daemon.worker_pids()
            if pids:
                util.kill(rng.choice(pids), 9)
                kills += 1

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            for f in [pool.submit(c.run, REQUESTS // CLIENTS) for c in clients]:
                f.result()
    finally:
        done.set()
        killer.join()
    wrong = [x for c in clients for x in c.wrong]
    print(f"{kills} kills, {sum(c.cut for c in clients)} connections lost, {len(wrong)} wrong answers; requests:",
          {n: sum(c.done.get(n, 0) for c in clients) for n in clients[0].done})
    assert not wrong, wrong[:10]
    util.wait_until(lambda: leftovers(con) == ("[]", [], 0), 20, "the end of everything that was held")
    util.wait_until(lambda: not bucket.uploads(), 20, "the end of all uploads")
    con.daemon.check()
    for client in clients:                      # all of it still works: after a look, a write is not refused
        for name in client.keys:
            client.ask("GET", f"/keys/{name}")
            if client.ask("PUT", f"/keys/{name}", b"end")[0] == 409:
                client.ask("GET", f"/keys/{name}")
                assert client.ask("PUT", f"/keys/{name}", b"end")[0] == 204
            assert client.ask("GET", f"/keys/{name}")[2] == b"end"
        client.conn.close()
