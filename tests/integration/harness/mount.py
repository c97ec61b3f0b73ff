"""A stateproxyd and its mount, as a user would start it, with nothing left behind at the end."""

import functools
import glob
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
import uuid

from . import ACCESS, CTL, DAEMON, REGION, SECRET, SLOW, probed, util
from .cgroup import Cgroup, parse_bytes
from .noise import Noise

SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|MemorySanitizer"
                       r"|runtime error:|UndefinedBehaviorSanitizer")
READY = re.compile(r"(?<!not )\bready\b")
WORKER_MEMORY = 8 << 20         # what each worker beyond the usual two is given
MEMORY = os.environ.get("STATEPROXY_TEST_MEMORY")
ERROR_LINE = re.compile(r"^\S+ err ", re.MULTILINE)


class DaemonFailed(AssertionError):
    pass


class Mount:
    """Made by the `mount` fixture. `path` is the mount point, `proc` the supervisor.

    endpoint: of the S3 server, or of a proxy before it. env: more environment variables (None takes
    one away). mountpoint: another than a fresh directory of its own. noise: how to make company for
    it as soon as it serves, Noise's arguments; server: where that asks S3 itself, past a proxy.
    is_open(): whether nothing is between it and the server now but what passes requests on; then
    it is told what an earlier mount's probe has found (probed.py), but for `kept`, {"copy": 1}."""

    def __init__(self, guard, bucket, endpoint, prefix="p", variant="s3-buffered-lww", workers=2,
                 env=None, mountpoint=None, args=(), noise=None, server=None, is_open=None, kept=None):
        self.guard, self.bucket, self.prefix = guard, bucket, prefix
        self.is_open, self.kept = is_open, kept
        self.noise, self.company, self.server = noise, None, server
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="sp-", dir=util.short_tmp()))
        guard.directory(self.dir)
        self.path = pathlib.Path(mountpoint) if mountpoint else self.dir / "mnt"
        self.buffer_dir = self.dir / "buf"
        self.socket = self.dir / "ctl.sock"
        self.log_path = self.dir / "log"
        self.mark = uuid.uuid4().hex
        self.args = list(args)
        self.daemon = DAEMON            # the program
        self.proc = None
        self.reports = sanitizer_files()
        self.stopped = False            # ended and checked, or never ran
        self.tested_by_kill = False
        self.group = Cgroup(parse_bytes(MEMORY) + max(0, workers - 2) * WORKER_MEMORY) if MEMORY else None
        # a test may start it by way of another program
        self.wrap = lambda *command: command
        if not mountpoint:
            self.path.mkdir()
        self.buffer_dir.mkdir()
        self.env = {
            "STATE_BUCKET": bucket, "STATE_PREFIX": prefix, "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET, "STATE_MOUNT": self.path, "STATE_VARIANT": variant,
            "STATEPROXY_WORKERS_COUNT": workers, "STATEPROXY_CONTROL_SOCKET": self.socket,
            "STATEPROXY_BUFFER_DIR": self.buffer_dir}
        if is_open and variant == "s3-buffered-cas" and "STATEPROXY_CAS_PROBE" not in (env or {}):
            self.env["STATEPROXY_CAS_STATE_DIR"] = self.dir / "state"
            (self.dir / "state").mkdir()
        self.env.update(env or {})
        self.env = {n: v for n, v in self.env.items() if v is not None}

    def key(self, name):
        """The whole key of a name in the mount."""
        return f"{self.prefix}/{name}" if self.prefix else str(name)

    # -- starting and stopping

    def _command(self):
        command = self.wrap(str(self.daemon), *map(str, self.args))
        return self.group.run(*command) if self.group else command

    def start(self, ready=True, timeout=20.0):
        """Starts it and, with ready, waits until it serves."""
        self.guard.mount(self.path, self.mark)
        self._share_probe(functools.partial(probed.give, but=self.kept))
        with open(self.log_path, "ab") as log:
            self.proc = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, env=util.clean_env(**self.env, **{util.MARK: self.mark}),
                start_new_session=True, cwd=self.dir)
        self.guard.session(self.proc.pid, self.mark)
        self.stopped = False
        if ready:
            self.wait_ready(timeout)
            self._share_probe(probed.take)
            if self.noise and self.env.get("STATE_MOUNT"):
                self.company = Noise(self, **self.noise)
        return self

    def _share_probe(self, how):
        place = self.env.get("STATEPROXY_CAS_STATE_DIR")
        if place == self.dir / "state" and self.is_open():
            how(place, self.server, self.env["AWS_ENDPOINT_URL"], self.env["STATE_BUCKET"])

    def leave_alone(self):
        """Ends the company, and fails if that met what nobody may meet."""
        company, self.company = self.company, None
        return company.stop() if company else {}

    def wait_ready(self, timeout=20.0):
        deadline = time.monotonic() + timeout * SLOW
        while not READY.search(self.log()):
            if self.proc.poll() is not None:
                raise DaemonFailed(f"exit {self.proc.returncode} before it was ready\n{self.log()}")
            if time.monotonic() > deadline:
                raise DaemonFailed(f"not ready within {timeout * SLOW:.0f} s\n{self.log()}")
            time.sleep(0.005)

    def start_refused(self, timeout=10.0):
        """Starts it where it has to refuse. Returns (exit code, log lines of level err)."""
        self.start(ready=False)
        code = self.wait_exit(timeout)
        self._check_gone("after it refused to start", served=False)
        self.stopped = True
        return code, [x for x in self.log().splitlines() if ERROR_LINE.match(x)]

    def wait_exit(self, timeout=30.0):
        try:
            return self.proc.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            raise DaemonFailed(f"stateproxyd did not end within {timeout * SLOW:.0f} s; "
                               f"{util.stack(self.proc.pid)}\n{self.log()}") from None

    def term(self):
        self.leave_alone()
        self.proc.send_signal(signal.SIGTERM)

    def stop(self, timeout=30.0):
        """SIGTERM: it has to end with 0 and leave nothing behind."""
        self.term()
        code = self.wait_exit(timeout)
        assert code == 0, f"exit {code} after SIGTERM\n{self.log()}"
        self._check_gone("after SIGTERM")
        self.stopped = True

    def kill_all(self):
        """SIGKILL to all its processes, as the out-of-memory killer does for a container."""
        for pid in self.processes():
            util.kill(pid)
        util.wait_until(lambda: not self.processes(), 10, "the end of all")
        self.proc.wait()

    def kill_supervisor(self, timeout=15.0):
        """SIGKILL: the workers have to end by themselves. The stale mount stays."""
        self.leave_alone()
        self.proc.kill()
        self.proc.wait()
        util.wait_until(lambda: not self.processes(), timeout,
                        "the end of the workers after their supervisor was killed")
        self.tested_by_kill = True
        self.stopped = True

    def _check_gone(self, when, served=True):
        left = self.processes()
        assert not left, f"{when}, processes are left: {[describe(p) for p in left]}"
        if served:
            entry = util.mount_entry(self.path)
            assert entry is None, f"{when}, {self.path} is still mounted: {entry}"
            if self.path.is_dir():
                assert not os.listdir(self.path), f"{when}, the mount point is not empty"
        assert not self.socket.exists(), f"{when}, the control socket is left"
        assert not os.listdir(self.buffer_dir), \
            f"{when}, files are left in the buffer directory: {os.listdir(self.buffer_dir)}"
        self.check_sanitizers()

    def check_sanitizers(self):
        found = SANITIZER.search(self.log())
        assert not found, "a sanitizer reported:\n" + self.log()[max(0, found.start() - 500):
                                                                 found.start() + 6000]
        new = sanitizer_files() - self.reports
        self.reports |= new
        assert not new, "a sanitizer reported:\n" + "\n".join(
            pathlib.Path(f).read_text(errors="replace")[:6000] for f in sorted(new))

    # -- looking at it

    def processes(self):
        """Pids of the supervisor and of everything that it started, wherever they ended up."""
        return util.marked(self.mark, self.proc.pid if self.proc else None)

    def log(self):
        try:
            return self.log_path.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def errors(self):
        """Log lines of level err."""
        return [x for x in self.log().splitlines() if ERROR_LINE.match(x)]

    def ctl(self, *args, check=True, timeout=20.0):
        return util.run([CTL, "--socket", self.socket, *args], timeout, check=check,
                        env=util.clean_env())

    def status(self):
        return json.loads(self.ctl("status", "--json").out)

    def inflight(self):
        """The kernel's requests that are not answered: worker, op, unique, age_ms."""
        return json.loads(self.ctl("inflight", "--json").out)

    def worker_pids(self):
        """Pids of the workers that run now, by number of the worker."""
        return [w["pid"] for w in self.status()["workers"] if w.get("pid")]

    def wait_workers(self, count, without=(), timeout=20.0):
        """Waits until that many workers run, none of them with one of the pids `without`."""
        def there():
            pids = [p for p in self.worker_pids() if util.alive(p)]
            return pids if len(pids) == count and not set(pids) & set(without) else None
        return util.wait_until(there, timeout, f"{count} new workers")

    def kill_workers(self, sig=signal.SIGKILL):
        """A signal to every worker that runs now. Returns their pids."""
        pids = self.worker_pids()
        for pid in pids:
            util.kill(pid, sig)
        return pids

    def check(self):
        """Every table in shared memory is consistent."""
        done = self.ctl("check", check=False)
        assert done.code == 0, f"stateproxyctl check: {done!r}\n{self.log()[-3000:]}"

    # -- clean-up

    def clean_up(self, failed):
        """The end of a test. Where the test passed, what is not as it should be fails it."""
        try:
            self.leave_alone()
            if not failed and self.proc and not self.stopped:
                if self.proc.poll() is not None:
                    raise DaemonFailed(f"stateproxyd ended during the test with "
                                       f"{self.proc.returncode}\n{self.log()}")
                self.stop()
            self.check_sanitizers()
        finally:
            self._remove()

    def _remove(self):
        entry = util.mount_entry(self.path)
        if entry and entry[1].startswith("fuse"):
            util.abort_fuse(entry[0])
        if not self.stopped or self.processes():
            for _ in range(3):              # a killed worker's replacement may have been on its way
                for pid in self.processes():
                    util.kill(pid)
            if self.proc:
                self.proc.wait()
            util.unmount(self.path)
            util.wait_until(lambda: not self.processes(), 20, "the end of killed processes")
        if self.proc:
            self.proc.wait()
        util.unmount(self.path)
        self.guard.gone(self.path)
        shutil.rmtree(self.dir, ignore_errors=True)
        if self.group:
            group, self.group = self.group, None        # a test may have cleaned up before
            killed = group.killed()
            print(f"memory: peak={group.peak() >> 20} MiB killed={killed}")
            group.remove()
            assert not killed, f"the OOM killer has ended {killed} of its processes, within {MEMORY}"


def sanitizer_files():
    """Reports that go to files, as ASAN_OPTIONS and UBSAN_OPTIONS ask with log_path."""
    options = os.environ.get("ASAN_OPTIONS", "") + ":" + os.environ.get("UBSAN_OPTIONS", "")
    paths = re.findall(r"log_path=([^:]+)", options)
    return {f for path in set(paths) for f in glob.glob(glob.escape(path) + "*")}


def describe(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f"{pid} {f.read().replace(bytes(1), b' ').decode(errors='replace')}"
    except OSError:
        return f"{pid} (gone)"
