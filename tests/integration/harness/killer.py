"""Kills workers at random, while something else uses the mount."""

import random
import signal
import threading
import time

from . import util


class Killer(threading.Thread):
    """`count` SIGKILLs of random workers of a mount, `low` to `high` seconds apart. join() it and
    look at `kills` and `error`."""

    def __init__(self, mount, count, seed, low=0.005, high=0.05):
        super().__init__(name="killer", daemon=True)
        self.mount, self.count, self.low, self.high = mount, count, low, high
        self.random = random.Random(seed)
        self.kills = 0
        self.error = None
        self.cancelled = threading.Event()

    def run(self):
        try:
            while self.kills < self.count and not self.cancelled.is_set():
                self.cancelled.wait(self.random.uniform(self.low, self.high))
                self._kill_one()
        except BaseException as e:      # told by finish(), in the test's own thread
            self.error = e

    def _kill_one(self):
        supervisor = self.mount.proc.pid
        pids = []
        for pid in self.mount.worker_pids():
            stat = util.stat_of(pid)
            if stat and stat[1] == supervisor and stat[0] not in "ZX":
                pids.append(pid)
        if pids:
            util.kill(self.random.choice(pids), signal.SIGKILL)
            self.kills += 1

    def finish(self, timeout, check=lambda: None):
        """Waits for the last kill; check() is called now and then and may raise."""
        deadline = time.monotonic() + timeout
        while self.is_alive() and time.monotonic() < deadline:
            self.join(0.1)
            try:
                check()
            except BaseException:
                self.cancelled.set()
                raise
        self.cancelled.set()
        self.join(30)
        if self.error:
            raise self.error
        assert self.kills == self.count, f"only {self.kills} of {self.count} kills in {timeout} s"
