"""The service manager's store of descriptors: takes FDSTORE=1 of sd_notify, as systemd does, and hands
what it has to the next daemon (LISTEN_FDS). It lives in the test's process."""

import os
import select
import socket
import sys
import threading
import time

from . import SLOW

# Receives "NAME NAME ..." and descriptors until an empty message; then becomes the daemon.
LAUNCH = """
import array, os, socket, sys
sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
sock.connect(sys.argv[1])
names, fds = [], []
while True:
    data, fd, _, _ = socket.recv_fds(sock, 65536, 200)
    if not data:
        break
    names += data.decode().split()
    fds += fd
sock.close()
high = [os.dup2(fd, 2000 + i) for i, fd in enumerate(fds)]
for fd in fds:
    os.close(fd)
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i, inheritable=True)
    os.close(fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(fds)), LISTEN_FDNAMES=":".join(names))
os.execv(sys.argv[2], sys.argv[2:])
"""


RECORD = "stateproxy-record-"
PATIENCE = 20 * SLOW    # seconds without a daemon: then all is let go, so that no program waits for ever


class FdStore:
    """`path`: for NOTIFY_SOCKET. `wrap`: for Mount.wrap. `held`: {name: descriptor}.

    The process that starts the daemon must have no file of the mount open: its child would wait, when
    it closes its copy, for the daemon that it is to become."""

    def __init__(self, directory):
        self.path = os.path.join(str(directory), "fdstore.sock")
        self.giver = os.path.join(str(directory), "fdgive.sock")
        self.held = {}
        self.watched = set()        # names without FDPOLL=0
        self.slow = False           # keeps what it was told to drop until hurry()
        self.late = []
        self.lines = []
        self.lock = threading.Lock()
        self.deadline = None
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(self.path)
        os.chmod(self.path, 0o666)
        self.give = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.give.bind(self.giver)
        self.give.listen(1)
        self.ended = os.eventfd(0)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def wrap(self, *command):
        return [sys.executable, "-B", "-c", LAUNCH, self.giver, *command]

    def _serve(self):
        poll = select.poll()
        for s in (self.notify, self.give):
            poll.register(s, select.POLLIN)
        poll.register(self.ended, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poll.poll(100)}
            if self.ended in ready:
                return
            if self.deadline and time.monotonic() > self.deadline:
                self._let_go()
            if self.notify.fileno() in ready:
                self._take()
            elif self.give.fileno() in ready:
                self._hand_in()

    def _take(self):
        data, fds, _, _ = socket.recv_fds(self.notify, 65536, 10)
        fields = dict(line.partition("=")[::2] for line in data.decode().splitlines())
        name = fields.get("FDNAME", "stored")
        with self.lock:
            self.lines.append(fields)
            if fields.get("FDSTOREREMOVE") == "1" and name in self.held:
                self.late.append(self.held.pop(name))
            if not self.slow:
                self._drop_late()
            if fields.get("FDSTORE") == "1":
                (fd,) = fds
                if fields.get("FDPOLL") != "0":
                    self.watched.add(name)
                if name in self.held:
                    same = os.path.sameopenfile(fd, self.held[name])
                    os.close(fd if same else self.held[name])
                    fd = self.held[name] if same else fd
                self.held[name] = fd
                if name.startswith(RECORD):
                    self.deadline = None
            else:
                assert not fds

    def _drop_late(self):
        while self.late:
            os.close(self.late.pop())

    def hurry(self):
        with self.lock:
            self.slow = False
            self._drop_late()

    def nobody_serves(self):
        """From now on it waits for the next daemon."""
        self.deadline = time.monotonic() + PATIENCE

    def _let_go(self):
        with self.lock:
            for fd in self.held.values():
                os.close(fd)
            self.held.clear()
            self._drop_late()
            self.deadline = None

    def _gone(self, fd):
        """systemd drops what polls as ended, unless it was told not to poll it."""
        p = select.poll()
        p.register(fd, 0)
        return any(e & (select.POLLERR | select.POLLHUP) for _, e in p.poll(0))

    def _hand_in(self):
        """In another order than they came."""
        conn, _ = self.give.accept()
        with self.lock, conn:
            for name in [n for n, fd in self.held.items() if n in self.watched and self._gone(fd)]:
                os.close(self.held.pop(name))
            names = sorted(self.held, key=lambda n: n[::-1])
            for i in range(0, len(names), 100):
                some = names[i:i + 100]
                socket.send_fds(conn, [" ".join(some).encode()], [self.held[n] for n in some])

    def has_all(self):
        return bool(self.records())

    def records(self):
        """Names, the newest one last."""
        return sorted((n for n in self.held if n.startswith(RECORD)), key=lambda n: int(n[len(RECORD):]))

    def close(self):
        os.eventfd_write(self.ended, 1)
        self.thread.join()
        for fd in (*self.held.values(), *self.late, self.ended):
            os.close(fd)
        self.notify.close()
        self.give.close()
        for path in (self.path, self.giver):
            os.unlink(path)
