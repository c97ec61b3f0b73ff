"""Fixtures: `server` (one of servers.py, by name) and `mount`, as in the integration tests."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "integration"))
sys.path.insert(0, str(pathlib.Path(__file__).parent))

from harness.guard import Guard                         # noqa: E402
from harness.mount import Mount                         # noqa: E402
from servers import ACCESS, KINDS, SECRET               # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--server", action="append", choices=sorted(KINDS),
                     help="which; all, where none is named")


def pytest_generate_tests(metafunc):
    if "server" in metafunc.fixturenames:
        metafunc.parametrize("server", metafunc.config.getoption("--server") or sorted(KINDS),
                             indirect=True, scope="session")


@pytest.fixture(scope="session")
def guard():
    guard = Guard()
    yield guard
    guard.close()


@pytest.fixture(scope="session")
def server(request, guard):
    server = KINDS[request.param](guard).start()
    yield server
    server.remove()


@pytest.fixture
def mount(guard, server):
    guard.arm(180, "tests/servers")
    made = []

    def make(start=True, env=None, **kwargs):
        settings = getattr(server, "settings", {})
        m = Mount(guard, server.bucket, server.endpoint,
                  env={"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET, **settings,
                       **(env or {})}, **kwargs)
        made.append(m)
        return m.start(timeout=40) if start else m

    yield make
    for m in made:
        m.clean_up(False)
    guard.disarm()
