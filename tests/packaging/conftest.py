"""Fixtures of the package tests: `deb` makes a package of this build, `box` a Debian without anything
else, `installed` one with the package, `booted` one that systemd has started, `container` the image,
`bucket` an S3 client. Run by the stage `packages` of tools/test.sh, as root.

STATEPROXY_BIN_DIR is the folder of a build; what is packaged is what it has."""

import itertools
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "integration"))
sys.path.insert(0, str(HERE))

from harness import ACCESS, BIN_DIR, SECRET, TOP, surroundings, util      # noqa: E402
from harness.guard import Guard                         # noqa: E402
from harness.s3 import S3                               # noqa: E402
from harness.server import S3Server, find_server        # noqa: E402
from box import Box                                     # noqa: E402

surroundings.settle()   # before anything is started

LIMIT = 120             # seconds for a test
SYSTEMD = ("/lib/systemd/systemd", "--system", "--show-status=false")
USER = "65532"          # of the image
# What a container has: its root read-only, with file systems in memory here and there.
RUN = r"""
set -e
root=$1
shift
mount --bind "$root" "$root"
cd "$root"
mount --bind "$root" . && mount -o remount,bind,ro "$root"
cd "$root"
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs dev
for x in null urandom; do : >"dev/$x"; mount --bind "/dev/$x" "dev/$x"; done
for x in $VOLUMES; do mount -t tmpfs -o "mode=${x#*:}" tmpfs ".${x%:*}"; done
exec chroot --userspec="$USER:$USER" --groups= "$root" "$@"
"""
VOLUMES = {"/tmp": "1777", "/var/tmp": "1777", "/var/run/asya/state": "777"}
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def guard():
    guard = Guard()
    yield guard
    guard.close()


@pytest.fixture(autouse=True)
def _armed(request, guard):
    guard.arm(LIMIT, request.node.nodeid)
    yield
    if guard.disarm():
        pytest.fail(f"stuck for {LIMIT} s: its mounts were aborted", pytrace=False)


@pytest.fixture(scope="session")
def s3server(guard):
    binary = find_server()
    assert binary, "no S3 server: tools/s3server.sh get, or STATEPROXY_S3SERVER"
    server = S3Server(binary, guard).start()
    yield server
    server.remove()


@pytest.fixture
def bucket(s3server):
    s3 = S3(s3server.endpoint, f"test-{os.getpid()}-{next(_numbers)}", s3server.root).create()
    yield s3
    s3.remove()


def package(*args):
    done = util.run([TOP / "tools" / "package.sh", "-b", BIN_DIR, *args], 300,
                    env={**util.clean_env(), "HOME": os.environ.get("HOME", "/root")})
    (name,) = done.out.split()      # README.md installs what it prints
    return pathlib.Path(name)


@pytest.fixture(scope="session")
def deb():
    return package("deb")


@pytest.fixture(scope="session")
def rpm():
    if not shutil.which("rpmbuild"):
        pytest.skip("no rpmbuild")
    return package("rpm")


@pytest.fixture(scope="session")
def newer_deb():
    return package("-v", "9.0.0", "deb")


@pytest.fixture(scope="session")
def root(deb):
    done = util.run([TOP / "tools" / "package-root.sh", deb], 600,
                    env={**util.clean_env(), "HOME": os.environ.get("HOME", "/root")})
    return done.out.strip()


@pytest.fixture
def box(root, guard):
    """box(...) -> Box; what it says at the end is not looked at."""
    made = []

    def make(**kwargs):
        made.append(Box(root, guard, **kwargs))
        return made[-1]

    yield make
    for b in made:
        b.stop()


def install(box, deb):
    box.path("/tmp/package.deb").write_bytes(deb.read_bytes())
    return box.run(["dpkg", "-i", "/tmp/package.deb"])


def give_credentials(box, secret=SECRET):
    path = box.path("/etc/stateproxy/credentials")
    path.write_text(f"[default]\naws_access_key_id = {ACCESS}\naws_secret_access_key = {secret}\n")
    path.chmod(0o600)


@pytest.fixture
def installed(box, deb):
    """A Debian with the package, and a folder /mnt/x."""
    b = box()
    install(b, deb)
    give_credentials(b)
    b.path("/mnt/x").mkdir()
    return b


@pytest.fixture
def booted(box):
    b = box(init=SYSTEMD, env={"container": "box"})
    # (is-system-running waits for the end of the start; degraded is no matter here)
    util.wait_until(lambda: b.path("/run/systemd/private").exists(), 30, "systemd")
    util.wait_until(lambda: b.run("systemctl is-active multi-user.target", check=False).out == "active\n", 60,
                    "multi-user.target", every=0.1)
    return b


@pytest.fixture(scope="session")
def image():
    return util.run([TOP / "tools" / "container-root.sh", BIN_DIR]).out.strip()


@pytest.fixture
def container(image, guard):
    """container(environment) starts the connector in the image; returns what was started, and its pid."""
    started = []

    def start(env, volumes=VOLUMES):
        settings = {"USER": USER, "VOLUMES": " ".join(f"{where}:{mode}" for where, mode in volumes.items())}
        proc = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child=KILL",
             "--propagation", "private", "bash", "-c", RUN, "run", image, "/usr/sbin/stateproxyd"],
            env={**util.clean_env(), **settings, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True)
        guard.watch_process(proc.pid)
        started.append(proc)
        lines = []
        for line in proc.stdout:
            lines.append(line)
            if b" ready " in line:
                return proc, util.children(proc.pid)[0]
        raise AssertionError(b"".join(lines).decode())

    yield start
    for proc in started:
        for pid in util.children(proc.pid):
            util.kill(pid)
        util.kill(proc.pid)
        proc.wait()
        proc.stdout.close()
