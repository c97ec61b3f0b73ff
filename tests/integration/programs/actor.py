#!/usr/bin/env python3
"""A process that does what it is told with files: harness/actor.py has the other end.

    actor.py FD         FD: a Unix socket, on which a call comes pickled as (name, args) and is
                        answered by ("ok", result) or ("error", errno, text)

A call names a function below, or one of `os`. Descriptors stay open between calls, and are known by
their numbers. What is opened with fork() is a child that is told on a socket of its own.
"""

import ctypes
import fcntl
import mmap
import os
import socket
import subprocess
import sys
from multiprocessing import reduction
from multiprocessing.connection import Connection

CHUNK = 1 << 20


class Actor:
    def __init__(self, conn):
        self.conn = conn
        self.maps = {}          # number -> mapping
        self.objects = {}       # number -> Python file object
        self.received = None    # a descriptor that came on self.conn

    # -- whole files

    def read_all(self, path, flags=0):
        fd = os.open(path, os.O_RDONLY | flags)
        try:
            return self.read_to_end(fd)
        finally:
            os.close(fd)

    def read_to_end(self, fd):
        parts = []
        while data := os.read(fd, CHUNK):
            parts.append(data)
        return b"".join(parts)

    def write_all(self, path, data, flags=os.O_TRUNC, mode=0o644):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags, mode)
        try:
            if data:
                os.write(fd, data)
        finally:
            os.close(fd)

    # -- what os gives in forms of its own

    def attributes(self, path_or_fd):
        """(mode, size, mtime in ns, inode)"""
        st = os.stat(path_or_fd)
        return st.st_mode, st.st_size, st.st_mtime_ns, st.st_ino

    def size(self, path_or_fd):
        return os.stat(path_or_fd).st_size

    def exists(self, path):
        return os.path.exists(path)

    def list_long(self, path):
        """As ls -l: {name: (mode, size)}; a name that is gone at its stat is left out."""
        found = {}
        with os.scandir(path) as entries:
            for entry in entries:
                try:
                    st = entry.stat(follow_symlinks=False)
                    found[entry.name] = st.st_mode, st.st_size
                except FileNotFoundError:
                    pass
        return found

    def flock(self, path, flags=os.O_RDONLY | os.O_CREAT):
        """As flock(1) with `true`."""
        fd = os.open(path, flags, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        finally:
            os.close(fd)

    def rename_noreplace(self, old, new):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), 1) < 0:
            raise OSError(ctypes.get_errno(), "renameat2")

    def set_times(self, path, ns):
        os.utime(path, ns=(ns, ns))

    # -- mappings

    def map(self, fd, write=False):
        self.maps[fd] = mmap.mmap(fd, 0, access=mmap.ACCESS_WRITE if write else mmap.ACCESS_READ)

    def map_read(self, fd, pos, size):
        return self.maps[fd][pos:pos + size]

    def map_write(self, fd, pos, data, sync=True):
        self.maps[fd][pos:pos + len(data)] = data
        if sync:
            self.maps[fd].flush()

    def unmap(self, fd):
        self.maps.pop(fd).close()

    # -- other processes

    def sh(self, script, *args):
        """A shell that stays the parent of what it runs: not even its last command replaces it."""
        done = subprocess.run(["sh", "-c", script + "\nexit $?", "sh", *args],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def in_child(self, name, *args):
        """What a call gives in a child that ends after it; its parent waits."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            os.write(writer, reduction.ForkingPickler.dumps(self.answer(name, args)))
            os._exit(0)
        os.close(writer)
        data = self.read_to_end(reader)
        os.close(reader)
        os.waitpid(pid, 0)
        answer = reduction.ForkingPickler.loads(data)
        if answer[0] == "error":
            raise OSError(*answer[1:])
        return answer[1]

    def fork(self):
        """The child goes on as an actor on the descriptor that came before this call."""
        fd, self.received = self.received, None
        pid = os.fork()
        if pid == 0:
            self.conn.close()
            self.conn = Connection(fd)
            return os.getpid()
        os.close(fd)
        return pid

    def exec(self):
        """Goes on as another program of the same process; descriptors stay, mappings do not."""
        for name in os.listdir("/proc/self/fd"):
            try:
                os.set_inheritable(int(name), True)
            except OSError:
                pass                            # that of the listing itself
        os.execv(sys.executable, [sys.executable, "-B", __file__, str(self.conn.fileno())])

    def receive(self):
        """Takes a descriptor that follows on the socket."""
        self.received = reduction.recv_handle(self.conn)

    def take_received(self):
        fd, self.received = self.received, None
        return fd

    def send_descriptor(self, via, fd):
        with socket.socket(fileno=via) as sock:
            socket.send_fds(sock, [b"x"], [fd])

    def receive_descriptor(self, via):
        with socket.socket(fileno=via) as sock:
            return socket.recv_fds(sock, 1, 1)[1][0]

    # -- being told

    def answer(self, name, args):
        try:
            own = getattr(self, name, None)
            result = own(*args) if own else getattr(os, name)(*args)
            if isinstance(result, os.stat_result):
                result = tuple(result)
            return "ok", result
        except OSError as e:
            return "error", e.errno, f"{name}: {e.strerror}"

    def serve(self):
        while True:
            try:
                name, args = self.conn.recv()
            except EOFError:
                return
            answer = self.answer(name, args)
            self.conn.send(answer)              # in a new child that is another one


if __name__ == "__main__":
    os.umask(0o022)
    inherited = Connection(int(sys.argv[1]))
    if len(sys.argv) == 2 and os.environ.pop("ACTOR_STARTED", None) is None:
        inherited.send(("ok", os.getpid()))     # after exec: the answer that is still owed
    Actor(inherited).serve()
