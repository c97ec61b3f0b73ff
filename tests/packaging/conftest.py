"""Fixtures of the package tests: `deb` makes a package of this build, `box` a Debian without anything
else, `installed` one with the package, `bucket` an S3 client. Run by the stage `packages` of
tools/test.sh, as root.

STATEPROXY_BIN_DIR is the folder of a build; what is packaged is what it has."""

import itertools
import os
import pathlib
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
    return pathlib.Path(done.out.split()[-1])


@pytest.fixture(scope="session")
def deb():
    return package("deb")


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
