"""stateproxyd hold, as a container beside the daemon's runs it."""

import os
import signal
import subprocess

from . import DAEMON, util
from .mount import SANITIZER


class Holder:
    """Listens at `path`; `log()` is what it has said since its (last) start."""

    def __init__(self, directory, deadline="20s", wrap=lambda *command: command):
        self.path = directory / "hold.sock"
        self.log_path = directory / "hold.log"
        self.deadline, self.wrap = deadline, wrap
        self.proc = None

    def start(self):
        with open(self.log_path, "wb") as log:
            self.proc = subprocess.Popen(
                self.wrap(str(DAEMON), "hold", "--socket", str(self.path), "--deadline", self.deadline),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=util.clean_env(),
                start_new_session=True, cwd="/")
        util.wait_until(lambda: "ready" in self.log() or self.proc.poll() is not None, what="the holder")
        return self

    def log(self):
        return self.log_path.read_text(errors="replace")

    def count(self, what):
        return self.log().count(f" {what} name=")

    def wait(self, what, times=1):
        util.wait_until(lambda: self.count(what) >= times, 20, f"the holder says {what} {times} times")

    def kill(self):
        self.proc.kill()
        self.proc.wait()

    def stop(self):
        self.proc.send_signal(signal.SIGTERM)
        assert self.proc.wait(20) == 0, self.log()
        assert not os.path.exists(self.path)

    def close(self):
        if self.proc and self.proc.poll() is None:
            self.stop()
        if self.proc:
            assert not SANITIZER.search(self.log()), self.log()
