"""The service manager's end of sd_notify."""

import os
import socket
import time

from . import SLOW


class NotifySocket:
    """Pass `path` as NOTIFY_SOCKET. Messages are kept as (seconds, {NAME: value})."""

    def __init__(self, directory):
        self.path = os.path.join(str(directory), "notify.sock")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        os.chmod(self.path, 0o666)
        self.messages = []

    def _receive(self, timeout):
        self.sock.settimeout(max(0.001, timeout))
        try:
            data = self.sock.recv(65536)
        except (TimeoutError, socket.timeout):
            return False
        fields = dict(line.partition("=")[::2] for line in data.decode().splitlines())
        self.messages.append((time.monotonic(), fields))
        return True

    def wait(self, name, value=None, timeout=20.0):
        """Waits for NAME (with that value) and returns its value; messages before it count."""
        deadline = time.monotonic() + timeout * SLOW
        seen = 0
        while True:
            for _, fields in self.messages[seen:]:
                if name in fields and value in (None, fields[name]):
                    return fields[name]
            seen = len(self.messages)
            left = deadline - time.monotonic()
            assert left > 0, f"no {name}={value or '...'} came: {self.messages}"
            self._receive(left)

    def count(self, name, seconds=None):
        """How many messages had NAME, after listening for so long."""
        if seconds:
            deadline = time.monotonic() + seconds
            while (left := deadline - time.monotonic()) > 0:
                self._receive(left)
        return sum(name in fields for _, fields in self.messages)

    def close(self):
        self.sock.close()
        if os.path.exists(self.path):
            os.unlink(self.path)
