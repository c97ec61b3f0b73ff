"""Other processes that work with files as a test tells them, step by step: with children, shells, and
descriptors that are passed on. What they can do is in programs/actor.py, and all of `os`.

    a.open(path, os.O_RDWR) -> descriptor's number there      errors are raised here, as OSError
"""

import os
import socket
import subprocess
import sys
from multiprocessing import Pipe, reduction

from . import PROGRAMS, SLOW, util

ANSWER_SECONDS = 60


class Actor:
    """A process of the test, or with `parent` a child of one."""

    def __init__(self, parent=None):
        self.conn, theirs = Pipe()
        if parent:
            parent._give(theirs.fileno())
            self.pid = parent._call("fork")
            self._receive()                     # the child's own answer to the same call
            self.proc = None
        else:
            self.proc = subprocess.Popen(
                [sys.executable, "-B", PROGRAMS / "actor.py", str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                env=util.clean_env(ACTOR_STARTED=1))
            self.pid = self.proc.pid
        theirs.close()
        self.children = []

    def __getattr__(self, name):
        return lambda *args: self._call(name, *args)

    def _call(self, name, *args):
        self._send(name, *args)
        return self._receive()

    def _send(self, name, *args):
        self.conn.send((name, [os.fspath(a) if isinstance(a, os.PathLike) else a for a in args]))

    def _receive(self):
        if not self.conn.poll(ANSWER_SECONDS * SLOW):
            raise AssertionError(f"no answer of an actor: {util.stack(self.pid)}")
        try:
            kind, *answer = self.conn.recv()
        except (EOFError, ConnectionResetError):
            raise AssertionError(f"actor {self.pid} has ended: {self._how_it_ended()}") from None
        if kind == "error":
            raise OSError(*answer)
        return answer[0]

    def _how_it_ended(self):
        return self.proc.wait(10) if self.proc else "a child"

    def _give(self, fd):
        self._send("receive")
        reduction.send_handle(self.conn, fd, self.pid)
        self._receive()

    def child(self):
        """A child that has all the descriptors, and is told by itself."""
        self.children.append(Actor(self))
        return self.children[-1]

    def begin(self, name, *args):
        """A call whose answer is awaited by end()."""
        self._send(name, *args)

    def end(self):
        return self._receive()

    def hand(self, fd, to):
        """A descriptor by SCM_RIGHTS, as one process gives it to another. -> its number there"""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._give(ours.fileno())
            self._call("send_descriptor", self._call("take_received"), fd)
            to._give(theirs.fileno())
            return to._call("receive_descriptor", to._call("take_received"))

    def run(self, script, *args):
        """A shell that stays the parent; what it prints. Its failure is the test's."""
        code, out, err = self._call("sh", script, *args)
        assert code == 0, f"{script}: exit {code}\n{out}{err}"
        return out

    def kill(self):
        """SIGKILL, and its descriptors are closed when this returns."""
        util.kill(self.pid)
        if self.proc:
            self.proc.wait()
        else:
            util.wait_until(lambda: not util.alive(self.pid), what="the end of a killed child")

    def stop(self):
        for child in self.children:
            child.stop()
        self.conn.close()
        if self.proc:
            try:
                self.proc.wait(20 * SLOW)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
