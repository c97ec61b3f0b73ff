"""Fixtures: `server` (one of servers.py, by name) and `mount`, as in the integration tests. What was found
of a server goes to build/servers/NAME.json, of which table.py makes docs/SERVERS.md."""

import json
import os
import pathlib
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "integration"))
sys.path.insert(0, str(pathlib.Path(__file__).parent))

from harness import TOP, surroundings                   # noqa: E402
from harness.guard import Guard                         # noqa: E402
from harness.mount import Mount                         # noqa: E402
from servers import KINDS, NotHere                      # noqa: E402

surroundings.settle()   # before anything is started

LIMIT = 120             # seconds for a test
RESULTS = TOP / "build" / "servers"
found = {}              # by the server's name


def pytest_addoption(parser):
    parser.addoption("--server", action="append", choices=sorted(KINDS),
                     help="which; all, where none is named")


def pytest_generate_tests(metafunc):
    if "server" in metafunc.fixturenames:
        metafunc.parametrize("server", metafunc.config.getoption("--server") or list(KINDS),
                             indirect=True, scope="session")


def case_of(item):
    return item.originalname.removeprefix("test_")


def pytest_collection_modifyitems(items):
    for item in items:
        kind = KINDS[item.callspec.params["server"]]
        why = {**kind.not_here, **kind.faults}.get(case_of(item))
        if why:                     # strict: what was mended is noticed
            item.add_marker(pytest.mark.xfail(reason=why, strict=True))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" or not report.passed:
        server = item.callspec.params["server"]
        cases = found.setdefault(server, {}).setdefault("cases", {})
        if cases.get(case_of(item)) != "failed":
            cases[case_of(item)] = "cannot" if hasattr(report, "wasxfail") else report.outcome


def pytest_sessionfinish(session):
    """A run of a part of the cases tells nothing about the rest."""
    if session.config.option.keyword or not found:
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name, result in found.items():
        (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")


@pytest.fixture(scope="session")
def guard():
    guard = Guard()
    yield guard
    guard.close()


@pytest.fixture(scope="session")
def server(request, guard):
    name = request.param
    try:
        server = KINDS[name](guard)
    except NotHere as e:
        if os.environ.get("STATEPROXY_NO_SKIP") == "1":
            pytest.fail(str(e), pytrace=False)
        pytest.skip(str(e))
    server.found = found.setdefault(name, {})
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.fixture
def mount(guard, server):
    """mount(prefix=..., variant=..., start=False) -> Mount, started. `took` tells how long that was."""
    guard.arm(LIMIT, "tests/servers")
    made = []

    def make(start=True, **kwargs):
        env = {"AWS_ACCESS_KEY_ID": server.access, "AWS_SECRET_ACCESS_KEY": server.secret,
               **server.settings}
        m = Mount(guard, server.bucket, server.endpoint, env=env, **kwargs)
        made.append(m)
        if start:
            begin = time.monotonic()
            m.start(timeout=40)
            m.took = time.monotonic() - begin
        return m

    yield make
    for m in made:
        m.clean_up(False)
    if guard.disarm():
        pytest.fail(f"stuck for {LIMIT} s: its mounts were aborted", pytrace=False)
