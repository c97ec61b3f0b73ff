"""The S3 server of the tests: versitygw on a directory with extended attributes."""

import http.client
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

from . import ACCESS, REGION, SECRET, SLOW, TOP, util

VERSION = "v1.8.0"


def find_server():
    """Path of the server's binary, or None."""
    if os.environ.get("STATEPROXY_S3SERVER"):
        return os.environ["STATEPROXY_S3SERVER"]
    script = TOP / "tools" / "s3server.sh"
    if os.access(script, os.X_OK):
        done = subprocess.run([script, "get"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.decode().splitlines()[-1].strip()
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    for path in (shutil.which("versitygw"), cache / "stateproxy" / f"versitygw-{VERSION}"):
        if path and os.access(path, os.X_OK):
            return str(path)
    return None


def data_directory():
    """A new directory where user xattrs work, in memory if possible (tmpfs has them since 6.6)."""
    for parent in ("/dev/shm", tempfile.gettempdir(), "/var/tmp", str(TOP)):
        if not os.access(parent, os.W_OK):
            continue
        path = tempfile.mkdtemp(prefix="stateproxy-s3-", dir=parent)
        try:
            os.setxattr(path, "user.probe", b"1")
            os.removexattr(path, "user.probe")
            return pathlib.Path(path)
        except OSError:
            os.rmdir(path)
    raise RuntimeError("no directory with user xattrs for the S3 server's data")


class S3Server:
    """start, stop, kill, restart: always on the same port, with the same data."""

    def __init__(self, binary, guard=None, extra_args=()):
        self.binary, self.guard, self.extra_args = binary, guard, list(extra_args)
        self.dir = data_directory()
        if guard:
            guard.directory(self.dir)
        self.root = self.dir / "data"           # a directory in it is a bucket
        self.root.mkdir()
        self.log_path = self.dir / "log"
        self.port = None
        self.process = None

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        for _ in range(5):
            fixed = self.port is not None
            if not fixed:
                self.port = util.free_port()
            log = open(self.log_path, "ab")
            self.process = subprocess.Popen(
                [self.binary, "--port", f"127.0.0.1:{self.port}", "--access", ACCESS,
                 "--secret", SECRET, "--region", REGION, "--keep-alive", "--quiet",
                 *self.extra_args, "posix", self.root],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=util.clean_env(),
                start_new_session=True)
            log.close()
            if self.guard:
                self.guard.watch_process(self.process.pid)
            if self._wait_answer():
                return self
            if not fixed:
                self.port = None            # somebody took the port: another one
        raise RuntimeError("the S3 server does not start: "
                           + self.log_path.read_text(errors="replace")[-2000:])

    def _wait_answer(self):
        deadline = time.monotonic() + 20 * SLOW
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            try:
                conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                conn.request("GET", "/")
                conn.getresponse().read()
                conn.close()
                return True
            except OSError:
                time.sleep(0.02)
        self.kill()
        return False

    def stop(self):
        self._end(signal.SIGTERM)

    def kill(self):
        self._end(signal.SIGKILL)

    def _end(self, sig):
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def restart(self):
        self.kill()
        return self.start()

    def running(self):
        return self.process is not None and self.process.poll() is None

    def remove(self):
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)
