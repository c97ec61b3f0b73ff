"""The S3 servers of the tests: versitygw on a directory with extended attributes, MinIO, moto."""

import http.client
import os
import pathlib
import shutil
import signal
import subprocess
import sys
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


def find_minio():
    """Path of MinIO's binary, or None. Builds nothing: that takes minutes."""
    if os.environ.get("STATEPROXY_MINIO"):
        return os.environ["STATEPROXY_MINIO"]
    script = TOP / "tools" / "s3server.sh"
    if not os.access(script, os.X_OK):
        return None
    done = subprocess.run([script, "find", "minio"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE)
    return done.stdout.decode().strip() if done.returncode == 0 else None


def find_moto():
    """Path of moto's server beside this Python (tests/requirements.txt), or None."""
    path = pathlib.Path(sys.executable).parent / "moto_server"
    return str(path) if os.access(path, os.X_OK) else None


def data_directory(on_disk=False):
    """A new directory where user xattrs work; in memory if possible (tmpfs has them since 6.6), unless
    more is to be stored than memory holds."""
    for parent in ("/dev/shm", tempfile.gettempdir(), "/var/tmp", str(TOP)):
        if not os.access(parent, os.W_OK) or (on_disk and parent == "/dev/shm"):
            continue
        path = tempfile.mkdtemp(prefix="stateproxy-s3-", dir=parent)
        try:
            os.setxattr(path, "user.probe", b"1")
            os.removexattr(path, "user.probe")
            return pathlib.Path(path)
        except OSError:
            os.rmdir(path)
    raise RuntimeError("no directory with user xattrs for the S3 server's data")


class Server:
    """start, stop, kill, restart: always on the same port, with the same data (in `dir`; moto's is
    in memory). `root`: a directory of which each directory is a bucket, or None."""

    start_seconds = 20

    def __init__(self, binary, guard=None, extra_args=(), on_disk=False):
        self.binary, self.guard, self.extra_args = str(binary), guard, list(extra_args)
        self.dir = data_directory(on_disk)
        if guard:
            guard.directory(self.dir)
        self.root = None
        self.log_path = self.dir / "log"
        self.port = None
        self.process = None

    def command(self):
        raise NotImplementedError

    def environment(self):
        return util.clean_env()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        for _ in range(5):
            fixed = self.port is not None
            if not fixed:
                self.port = util.free_port()
            log = open(self.log_path, "ab")
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=self.environment(),
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
        deadline = time.monotonic() + self.start_seconds * SLOW
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            try:
                conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                conn.request("GET", "/")
                status = conn.getresponse().status
                conn.close()
                if status < 500:            # MinIO says 503 until it is through with its start
                    return True
            except (OSError, http.client.HTTPException):
                pass
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


class S3Server(Server):
    """versitygw: the server that most tests run against. `versions`: its buckets may be versioned."""

    def __init__(self, binary, guard=None, extra_args=(), versions=False, on_disk=False):
        super().__init__(binary, guard, extra_args, on_disk)
        self.root = self.dir / "data"
        self.root.mkdir()
        self.posix_args = []
        if versions:
            (self.dir / "versions").mkdir()
            self.posix_args = ["--versioning-dir", self.dir / "versions"]

    def command(self):
        return [self.binary, "--port", f"127.0.0.1:{self.port}", "--access", ACCESS,
                "--secret", SECRET, "--region", REGION, "--keep-alive", "--quiet",
                *self.extra_args, "posix", *self.posix_args, self.root]


class MinioServer(Server):
    """MinIO: ignores conditions on DELETE, and has a key beside keys below it."""

    start_seconds = 40

    def command(self):
        return [self.binary, "server", "--address", f"127.0.0.1:{self.port}", "--quiet",
                *self.extra_args, self.dir / "data"]

    def environment(self):
        return util.clean_env(MINIO_ROOT_USER=ACCESS, MINIO_ROOT_PASSWORD=SECRET,
                              MINIO_REGION=REGION, MINIO_BROWSER="off", HOME=self.dir)


class MotoServer(Server):
    """moto: ignores If-Match on Complete, closes each connection after an answer, takes any key."""

    start_seconds = 40

    def command(self):
        return [self.binary, "-H", "127.0.0.1", "-p", str(self.port), *self.extra_args]
