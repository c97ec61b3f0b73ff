"""The test runner's end of programs/guard.py."""

import json
import subprocess
import sys

from . import PROGRAMS, util


class Guard:
    def __init__(self):
        self.process = subprocess.Popen([sys.executable, PROGRAMS / "guard.py"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        start_new_session=True)

    def _tell(self, **command):
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()

    def mount(self, path, mark):
        self._tell(mount=str(path), mark=mark)

    def session(self, pid, mark):
        self._tell(session=pid, mark=mark)

    def gone(self, path):
        self._tell(gone=str(path))

    def watch_process(self, pid):
        stat = util.stat_of(pid)
        if stat:
            self._tell(process=pid, start=stat[2])

    def directory(self, path):
        self._tell(directory=str(path))

    def arm(self, seconds, name):
        self._tell(arm=seconds, name=name)

    def disarm(self):
        """Whether it had to step in."""
        self._tell(disarm=True)
        return self.process.stdout.readline() == b"fired\n"

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()
