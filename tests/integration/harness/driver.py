"""CSI drivers that make a mount and hand its descriptor over: each does what the real one does, in its
order (mount.fd_protocol)."""

import array
import ctypes
import json
import os
import pathlib
import socket
import threading
import time

from . import SLOW, util

OPTIONS = "rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
MS_NOSUID, MS_NODEV = 2, 4
USER = 65534            # to whom the drivers give their sockets
DIAL_EVERY = 0.005      # seconds, as the driver of Mountpoint
_libc = ctypes.CDLL(None, use_errno=True)


def fuse_device():
    return os.open("/dev/fuse", os.O_RDWR)


def mount_fuse(source, target):
    """Returns the descriptor that whoever serves the mount needs."""
    fd = fuse_device()
    if _libc.mount(source.encode(), os.fsencode(target), b"fuse", ctypes.c_ulong(MS_NOSUID | MS_NODEV),
                   f"fd={fd},{OPTIONS}".encode()) < 0:
        os.close(fd)
        raise OSError(ctypes.get_errno(), "mount")
    return fd


def send(conn, data, fds=()):
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    conn.sendmsg([data], rights)


class Driver:
    """`folder`: where the socket is, and files beside it; `path`: the socket. `target`: what it mounts.

    message: the text (bytes), instead of what the driver says. pieces: into how many it is cut, with a
    pause before each. give: the descriptors that go with the first piece, from that of the mount.
    before_chown: called when it listens, and the socket is not yet the daemon's."""

    def __init__(self, protocol, folder, target, bucket, message=None, pieces=1, give=lambda fd: [fd],
                 before_chown=None, wait=20.0):
        self.protocol, self.folder, self.target = protocol, pathlib.Path(folder), target
        self.path = self.folder / {"mountpoint": "mount.sock"}.get(protocol, "socket")
        said = {"meta-fuse": {"volumeName": "data"},
                "gcsfuse": {"bucketName": bucket, "options": ["implicit-dirs", "file-mode=0644"]},
                "mountpoint": {"bucketName": bucket, "args": ["--allow-other", "--region=us-east-1"],
                               "env": ["AWS_REGION=us-east-1", "AWS_ROLE_ARN=arn:secret"]}}[protocol]
        self.message = json.dumps(said).encode() if message is None else message
        self.pieces, self.give, self.before_chown = pieces, give, before_chown
        self.wait = wait * SLOW
        self.listener = self.thread = self.error = None
        self.closed = threading.Event()
        os.chown(self.folder, USER, USER)

    # -- what happens before the container starts

    def publish(self):
        """NodePublishVolume."""
        if self.protocol == "meta-fuse":
            self._listen()
            self._later(self._mount_for_who_connects)
        elif self.protocol == "gcsfuse":
            fd = mount_fuse("bucket", self.target)
            self._listen()
            (self.folder / "error").unlink(missing_ok=True)
            self._later(self._give_to_who_connects, fd)
        else:
            fd = mount_fuse("mountpoint-s3", self.target)
            (self.folder / "mount.err").unlink(missing_ok=True)
            self._later(self._dial, fd)
        return self

    def _later(self, function, *args):
        def run():
            try:
                function(*args)
            except Exception as e:      # told by finish()
                self.error = e
        self.thread = threading.Thread(target=run)
        self.thread.start()

    def _listen(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.fspath(self.path))
        self.listener.settimeout(self.wait)
        self.listener.listen(16)
        if self.before_chown:
            self.before_chown()
        os.chown(self.path, USER, USER)

    def _accept(self):
        try:
            return self.listener.accept()[0]
        finally:
            self.listener.close()

    def _mount_for_who_connects(self):
        with self._accept() as conn:
            fd = mount_fuse("data", self.target)
            self._send(conn, fd)
        self.path.unlink(missing_ok=True)

    def _give_to_who_connects(self, fd):
        try:
            with self._accept() as conn:
                self._send(conn, fd)
        except OSError:
            os.close(fd)
            raise

    def _dial(self, fd):
        end = time.monotonic() + self.wait
        while True:
            conn = socket.socket(socket.AF_UNIX)
            try:
                conn.connect(os.fspath(self.path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                conn.close()
                if self.closed.wait(DIAL_EVERY) or time.monotonic() > end:
                    os.close(fd)
                    raise
        with conn:
            self._send(conn, fd)

    def _send(self, conn, fd):
        size = max(1, -(-len(self.message) // self.pieces))
        cut = [self.message[i:i + size] for i in range(0, len(self.message), size)]
        given = self.give(fd)
        for i, piece in enumerate(cut):
            if self.pieces > 1:
                time.sleep(0.02)
            send(conn, piece, given if i == 0 else ())
        for other in {fd, *given}:
            os.close(other)

    # -- and at the end

    def finish(self):
        """What it did in the background has ended, and well."""
        self.thread.join()
        if self.error:
            raise self.error

    def end(self):
        """NodeUnpublishVolume."""
        if self.protocol == "mountpoint":
            (self.folder / "mount.exit").touch()
        self.unmount()

    def unmount(self):
        if util.mount_entry(self.target) and _libc.umount2(os.fsencode(self.target), 0) < 0:
            raise OSError(ctypes.get_errno(), "umount")

    def close(self):
        """Whatever has happened."""
        self.closed.set()
        util.unmount(self.target)
        if self.listener:
            try:
                self.listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        if self.thread:
            self.thread.join()
        self.path.unlink(missing_ok=True)
