"""The tests' side of the proxy: starting one as a process of its own, and its control socket."""

import collections
import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import types

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "s3proxy.py")

# As in the tests' harness: a slow machine, or a build with sanitizers, is given more time.
SLOW = float(os.environ.get("STATEPROXY_TEST_SLOW", "1"))


class Entry(types.SimpleNamespace):
    """One request of the log: number, connection, op, bucket, key, method, query, range,
    conditions, headers, status (None: the client got none), etag (as answered), faults, error,
    start (seconds), sent, end (None: still going on), bytes_in, bytes_out."""

    def __repr__(self):
        return f"<{self.op} {self.key!r} {self.status} {self.range or ''}{self.conditions or ''}>"


class ProxyError(Exception):
    pass


class ProxyControl:
    """Controls a proxy over its control socket. May be used from several threads."""

    def __init__(self, path, port=None):
        self.path, self.port = str(path), port

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def _do(self, what, _wait=10.0 * SLOW, **args):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_wait + 10 * SLOW)
            sock.connect(self.path)
            sock.sendall(json.dumps({"do": what, **args}).encode() + b"\n")
            with sock.makefile("rb") as stream:
                line = stream.readline()
        if not line:
            raise ProxyError(f"{what}: the proxy went away")
        answer = json.loads(line)
        if "error" in answer:
            raise ProxyError(f"{what}: {answer['error']}")
        return answer["ok"]

    # -- counting

    def counts(self):
        """Requests by operation since the last reset."""
        return collections.Counter(self._do("counts"))

    def counts_by_key(self):
        """{(operation, key): requests}; the key of a listing is its prefix."""
        return collections.Counter({(op, key): n for op, key, n in self._do("counts_by_key")})

    def reset_counts(self):
        """Forgets counts, bytes and log."""
        self._do("reset_counts")

    def log(self, op=None, key=None):
        return [Entry(**x) for x in self._do("log", op=op, key=key)]

    def bytes_received(self, op=None):
        """Bytes of answer bodies that went to the client."""
        out = self._do("bytes")["out"]
        return out.get(op, 0) if op else sum(out.values())

    def bytes_sent(self, op=None):
        """Bytes of request bodies that came from the client."""
        out = self._do("bytes")["in"]
        return out.get(op, 0) if op else sum(out.values())

    def state(self):
        """in_flight, max_in_flight, connections, new_connections, blocked, rules, held."""
        return types.SimpleNamespace(**self._do("state"))

    def passes_on(self):
        """Whether it does nothing to any request."""
        state = self.state()
        return not state.rules and not state.blocked

    def wait_count(self, count, op=None, key=None, finished=False, timeout=20.0 * SLOW):
        """Waits until that many requests came (or were answered)."""
        if not self._do("wait_count", timeout, count=count, op=op, key=key, finished=finished,
                        timeout=timeout):
            raise ProxyError(f"{count} {op or 'requests'} {key or ''} did not come within "
                             f"{timeout} s: {self.counts_by_key()}")

    def wait_idle(self, timeout=20.0 * SLOW):
        if not self._do("wait_idle", timeout, timeout=timeout):
            raise ProxyError(f"requests still going on after {timeout} s")

    # -- faults

    def set_latency(self, ms):
        """Time that passes before each request goes on, all at once, none behind another."""
        self._do("set_latency", ms=ms)

    def add_rule(self, action, **args):
        """Action and parameters: ACTIONS; which requests: MATCH; how often: SELECT, all in
        s3proxy_rules.py. Returns the rule's number."""
        return self._do("add_rule", action=action, args=args)

    def add_faults(self, probability, seed=0, lost_ms=200, slow_ms=300, **match):
        """Meets this share of the matching requests with one of what networks and servers do: 500
        and 503 without acting, 500 after acting, a reset before and after the server acted, an
        answer that is lost, one that is slow; all as likely. Drawn at random from `seed`. None of
        them lets a request act after its client has gone: hold(detach=True) is for that."""
        faults = [("answer", {"status": 500}), ("answer", {"status": 503}),
                  ("answer", {"status": 500, "acted": True}),
                  ("reset", {"when": "before"}), ("reset", {"when": "after"}),
                  ("drop", {"ms": lost_ms}), ("delay", {"ms": slow_ms, "when": "after"})]
        left = 1.0              # share of the requests that came past the rules before
        numbers = []
        for i, (action, args) in enumerate(faults):
            share = probability / len(faults) / left
            numbers.append(self.add_rule(action, probability=share, seed=seed * 100 + i,
                                         **args, **match))
            left *= 1 - share
        return numbers

    def remove_rule(self, number):
        self._do("remove_rule", number=number)

    def clear_rules(self):
        """Also lets held requests go on."""
        self._do("clear_rules")

    def hold(self, name, when="before", **match):
        """Parks matching requests before they are sent on, with half of their body sent (mid) or
        before they are answered. detach=True takes the whole body first and sends it on at the
        release even if the client is gone."""
        return self.add_rule("hold", name=name, when=when, **match)

    def wait_held(self, name, count=1, timeout=20.0 * SLOW):
        if not self._do("wait_held", timeout, name=name, count=count, timeout=timeout):
            raise ProxyError(f"{name}: {count} requests were not held within {timeout} s; "
                             f"{self.counts_by_key()}")

    def release(self, name, verdict="forward", keep_rule=False):
        """Lets go (forward), closes (drop) or resets what is parked. Returns how many it were."""
        return self._do("release", name=name, verdict=verdict, keep_rule=keep_rule)

    def block(self, mode="refuse"):
        """The server is down: connections are refused and reset, or (blackhole) never answered."""
        self._do("block", mode=mode)

    def unblock(self):
        self._do("unblock")

    def set_credentials(self, access, secret):
        self._do("set_credentials", access=access, secret=secret)

    def set_upstream(self, host, port):
        self._do("set_upstream", host=host, port=port)


class _Template:
    """The process of which proxies are forks (template() in s3proxy.py). It ends with this one."""

    def __init__(self):
        self.sock, theirs = socket.socketpair()
        self.process = subprocess.Popen([sys.executable, PROGRAM, "--template"], stdin=theirs,
                                        stdout=subprocess.DEVNULL)
        theirs.close()
        self.lock = threading.Lock()

    def start(self, arguments, fds):
        with self.lock:
            socket.send_fds(self.sock, [json.dumps(arguments).encode()], fds)
            return int(self.sock.recv(100))


@functools.cache
def _template(_pid):
    return _Template()


class _Process:
    """A fork of the template: not a child of ours."""

    def __init__(self, pid):
        self.pid = pid
        try:
            self.fd = os.pidfd_open(pid)
        except ProcessLookupError:
            self.fd = None

    def _signal(self, sig):
        if self.fd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.fd, sig)

    def terminate(self):
        self._signal(signal.SIGTERM)

    def kill(self):
        self._signal(signal.SIGKILL)

    def ends(self, seconds):
        """Whether it has ended, within so much time."""
        return self.fd is None or bool(select.select([self.fd], [], [], seconds)[0])

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


class ProxyProcess(ProxyControl):
    """A proxy as a process of its own, which ends with this one."""

    def __init__(self, upstream_port, directory, credentials=None, name="proxy"):
        path = os.path.join(str(directory), f"{name}.sock")
        arguments = ["--listen", "127.0.0.1:0", "--upstream", f"127.0.0.1:{upstream_port}",
                     "--control", f"unix:{path}", "--exit-with-stdin"]
        for access, secret in (credentials or {}).items():
            arguments += ["--credentials", f"{access}:{secret}"]
        self.errors = open(os.path.join(str(directory), f"{name}.err"), "w+b")
        stdin, self.alive = os.pipe()
        said, stdout = os.pipe()
        self.process = _Process(_template(os.getpid()).start(
            arguments, [stdin, stdout, self.errors.fileno()]))
        os.close(stdin)
        os.close(stdout)
        timer = threading.Timer(20 * SLOW, self.process.kill)
        timer.start()
        with open(said) as stream:
            line = stream.readline()
        timer.cancel()
        if not line:
            self.process.ends(10 * SLOW)
            self.errors.seek(0)
            raise ProxyError("the proxy did not start: " + self.errors.read().decode())
        super().__init__(path, int(line))

    def stop(self):
        """Ends it; returns what it wrote to stderr (nothing, if all was well)."""
        self.process.terminate()
        if not self.process.ends(10 * SLOW):
            self.process.kill()
            self.process.ends(10 * SLOW)
        self.process.close()
        os.close(self.alive)
        self.errors.seek(0)
        text = self.errors.read().decode(errors="replace")
        self.errors.close()
        return text
