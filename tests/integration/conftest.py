"""Fixtures of the integration tests; what they hand out is in harness/.

    s3server   versitygw, one for the whole run         bucket     a fresh bucket for each test
    proxy      a proxy before it, fresh for each test   mount      starts stateproxyd as often as wanted
    minio, moto   other servers                         bucket_at  a bucket of a test on another server

Environment: STATEPROXY_BIN_DIR (where the programs are; the top of the tree), STATEPROXY_S3SERVER and
STATEPROXY_MINIO (the servers' binaries), STATEPROXY_TEST_SLOW (factor on every time limit), STATEPROXY_NO_SKIP=1 (what
is missing is an error), STATEPROXY_TEST_SEED (of the tests that draw at random), STATEPROXY_TEST_NOISE=1 (company
for every mount), STATEPROXY_TEST_SOME=N (of tests that differ in the variant or the server alone, one, and of what is
left of one function at most N: as tools/test.sh does with sanitizers), STATEPROXY_TEST_MEMORY=64Mi (each daemon in a memory cgroup of that limit, where
the OOM killer must find nothing to do; root).

How much, where a test says how much it does each day and how much by hand, before a release:

    STATEPROXY_TEST_RANDOM_OPS      test_random.py         3,000    100,000
    STATEPROXY_MODEL_SEQUENCES      test_cas_model.py        300     10,000
    STATEPROXY_TEST_FRESHNESS       test_freshness.py        300     10,000 rounds
    STATEPROXY_TEST_ROUNDS          test_all_dies.py           6        300 rounds
    STATEPROXY_TEST_KILLS           test_trust.py            100
    STATEPROXY_TEST_HOLDER_KILLS    test_holder.py             5      1,000 deaths of all, each variant
    STATEPROXY_TEST_RESTARTS        test_replaced.py           3        100 restarts, other programs, leaves
    STATEPROXY_TEST_UPGRADES        test_upgrade.py           10        100 changes of versions, each variant
    STATEPROXY_TEST_UPGRADE_STEPS   test_upgrade.py            7        =1: a death at each system call
    STATEPROXY_TEST_DEATHS          test_fdstore.py            5
    STATEPROXY_TEST_FAULT_OPS       test_many_faults.py    2,000    100,000
    STATEPROXY_TEST_READERS         test_large_reads.py   100x24   1000x1024: readers of one file, and its MiB
    STATEPROXY_TEST_FSX             test_fsx.py              250    100,000 operations, each variant
    STATEPROXY_TEST_TREES           test_listings.py          24
    STATEPROXY_TEST_STARTS          test_probe.py             12
    STATEPROXY_TEST_LOAD            test_connector_load.py 2,000    100,000 requests
    STATEPROXY_TEST_FULL=1          test_cas.py, test_cas_large.py, test_copy_range.py, test_every_step.py,
                                    test_fault_matrix.py, test_five_gib.py: the numbers of a trial

Company (programs/noise.py) lists, reads and touches locks on a mount while the test uses it. Tests with
@pytest.mark.noise always have it, and say how much of it; the others with STATEPROXY_TEST_NOISE=1, but for
those with @pytest.mark.quiet("why not"), mounts that go through a proxy (whose requests are counted,
or held up), and those on a server that the test stops.

@pytest.mark.limit(seconds) sets a test's time limit. When it is over, the test's mounts are aborted
by a process of its own (programs/guard.py), so that a test stuck in a mount fails instead of hanging.

@pytest.mark.counts says that a test only counts requests, or measures time: on a mount that other tests
exercise too, so that it need not be run with sanitizers; and by itself, with nothing else going on.
@pytest.mark.tool: about the proxy or the harness, the same for every build. So tools/test.sh runs both on one
build only.

What is inherited from whoever starts the tests (signals, umask, language, limits, ...) is put right by
harness/surroundings.py.
"""

import gc
import itertools
import os
import pathlib
import re
import sys
import tempfile
import zlib

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from harness import ACCESS, CTL, DAEMON, SECRET, SLOW, surroundings, util     # noqa: E402
from harness.actor import Actor                         # noqa: E402
from harness.guard import Guard                         # noqa: E402
from harness.mount import Mount                         # noqa: E402
from harness.s3 import S3                               # noqa: E402
from harness.server import (MinioServer, MotoServer, S3Server, find_minio,     # noqa: E402
                            find_moto, find_server)
from s3proxy_client import ProxyProcess                 # noqa: E402

surroundings.settle()   # before anything is started

VARIANT = re.compile(r"(?<=[\[-])(s3-buffered-lww|s3-buffered-cas|s3-passthrough|lww|cas|minio|versitygw)(?=[\]-])")
LIMIT = 60.0            # seconds for a test that says nothing else
_numbers = itertools.count(1)


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than five seconds")
    config.addinivalue_line("markers", "counts: counts requests, or measures time")
    config.addinivalue_line("markers", "repeats: rounds of what other tests do once, or waits for "
                            "deadlines: not with sanitizers")
    config.addinivalue_line("markers", "tool: of the tests' own tools, not of stateproxy")
    config.addinivalue_line("markers", "limit(seconds): time limit of the test")
    config.addinivalue_line("markers", "noise(**how): always with company; how: harness/noise.py")
    config.addinivalue_line("markers", "quiet(why): never with company")
    config.addinivalue_line("markers", "probes: each mount probes its server (harness/probed.py)")


def alike(items, name_of):
    """-> {name: the items that have it}"""
    found = {}
    for item in items:
        found.setdefault(name_of(item), []).append(item)
    return found


def some_of_each(items, most):
    """Of the tests that differ in the variant or in the server alone one, its name decides which; of what is left of
    a function at most `most`, from its whole range."""
    one = [some[zlib.crc32(name.encode()) % len(some)]
           for name, some in alike(items, lambda x: VARIANT.sub("*", x.nodeid)).items()]
    return {some[i * len(some) // most] if len(some) > most else some[i]
            for some in alike(one, lambda x: x.nodeid.partition("[")[0]).values()
            for i in range(min(most, len(some)))}


def limit_of(item):
    mark = item.get_closest_marker("limit")
    return (mark.args[0] if mark else LIMIT) * SLOW


def pytest_collection_modifyitems(config, items):
    if most := int(os.environ.get("STATEPROXY_TEST_SOME", "0")):
        kept = some_of_each(items, most)
        config.hook.pytest_deselected(items=[x for x in items if x not in kept])
        items[:] = [x for x in items if x in kept]
    for item in items:
        item.add_marker(pytest.mark.timeout(limit_of(item) + 30, method="signal"))


def pytest_collection_finish():
    gc.freeze()             # what was read stays: there is no need to look at it again and again


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    setattr(item, f"report_{report.when}", report)
    if report.failed:
        for mount in getattr(item, "mounts", ()):
            log = mount.log().splitlines()
            errors = [line for line in log[:-60]
                      if " err " in line or (" warn " in line and "worker ended" not in line)]
            report.sections.append((f"log of {mount.path}", "\n".join(errors + log[-60:])))


def failed(request):
    reports = [getattr(request.node, f"report_{when}", None) for when in ("setup", "call")]
    return any(r is not None and r.failed for r in reports)


def missing(what):
    if os.environ.get("STATEPROXY_NO_SKIP") == "1":
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def seed():
    """Of everything drawn at random; the same each time unless told otherwise."""
    value = int(os.environ.get("STATEPROXY_TEST_SEED", "1"))
    print(f"STATEPROXY_TEST_SEED={value}")
    return value


@pytest.fixture
def counted(proxy):
    """counted(function): the requests that it caused, by operation."""
    def run(function, *args):
        proxy.wait_idle()
        proxy.reset_counts()
        function(*args)
        proxy.wait_idle()
        return {op: n for op, n in proxy.counts().items() if n}
    return run


@pytest.fixture(scope="session")
def guard():
    guard = Guard()
    yield guard
    guard.close()


@pytest.fixture(autouse=True)
def _armed(request, guard):
    guard.arm(limit_of(request.node), request.node.nodeid)
    yield
    if guard.disarm():
        pytest.fail(f"stuck for {limit_of(request.node):.0f} s: its mounts were aborted",
                    pytrace=False)


@pytest.fixture(scope="session")
def s3server(guard):
    binary = find_server()
    if binary is None:
        missing("no S3 server: tools/s3server.sh get, or STATEPROXY_S3SERVER")
    server = S3Server(binary, guard).start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def minio(guard):
    """The second server, for tests of what servers differ in."""
    binary = find_minio()
    if binary is None:
        missing("no MinIO: tools/s3server.sh get minio, or STATEPROXY_MINIO")
    server = MinioServer(binary, guard).start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def moto(guard):
    """The third, which is wrong in many ways."""
    binary = find_moto()
    if binary is None:
        missing("no moto: tools/install-deps.sh venv")
    server = MotoServer(binary, guard).start()
    yield server
    server.remove()


@pytest.fixture
def bucket_at():
    """bucket_at(server) -> an S3 client on a fresh bucket there."""
    made = []

    def make(server):
        s3 = S3(server.endpoint, f"test-{os.getpid()}-{next(_numbers)}", server.root).create()
        made.append(s3)
        return s3

    yield make
    for s3 in made:
        s3.remove()


@pytest.fixture
def own_server(guard, s3server):
    """A second server, for a test that stops or kills it."""
    server = S3Server(s3server.binary, guard).start()
    yield server
    server.remove()


@pytest.fixture
def bucket(s3server):
    """An S3 client on a bucket of this test alone."""
    if not s3server.running():
        s3server.start()
    s3 = S3(s3server.endpoint, f"test-{os.getpid()}-{next(_numbers)}", s3server.root).create()
    yield s3
    s3.remove()


@pytest.fixture(scope="session")
def bucket2500(s3server):
    """A bucket with 2,500 objects p/many/NNNN.txt of 0 to 2,499 bytes. Not to be changed."""
    s3 = S3(s3server.endpoint, f"test-{os.getpid()}-2500", s3server.root).create()
    s3.put_many((f"p/many/{i:04d}.txt", b"x" * i) for i in range(2500))
    yield s3
    s3.remove()


@pytest.fixture
def scratch(guard):
    """A short-named directory outside the mounts, for sockets, trees, local copies."""
    with tempfile.TemporaryDirectory(prefix="sp-", dir=util.short_tmp(),
                                     ignore_cleanup_errors=True) as path:
        guard.directory(path)
        yield pathlib.Path(path)


@pytest.fixture
def actor():
    """actor() -> another process that works on files as told."""
    made = []

    def make():
        made.append(Actor())
        return made[-1]
    yield make
    for a in made:
        a.stop()


@pytest.fixture
def make_proxy(guard, scratch):
    """Starts a proxy before any server: make_proxy(port)."""
    made = []

    def start(port):
        proxy = ProxyProcess(port, scratch, {ACCESS: SECRET}, f"proxy{len(made)}")
        guard.watch_process(proxy.process.pid)
        made.append(proxy)
        return proxy

    yield start
    told = "".join(proxy.stop() for proxy in made)
    assert not told, f"the proxy failed:\n{told}"


@pytest.fixture
def proxy(s3server, make_proxy):
    return make_proxy(s3server.port)


def noise_of(request, via, seed):
    """How much company a mount of this test has, as Noise's arguments; or None."""
    mark = request.node.get_closest_marker("noise")
    if mark:
        return {"seed": seed, **mark.kwargs}
    if os.environ.get("STATEPROXY_TEST_NOISE") != "1" or via is not None:
        return None
    alone = request.node.get_closest_marker("quiet") or "own_server" in request.fixturenames
    return None if alone else {"seed": seed}


@pytest.fixture
def mount(request, guard, bucket, s3server, make_proxy, seed):
    """mount(via=proxy, prefix=..., env={...}, start=False, ...) -> Mount, started; see Mount."""
    for name in ("own_server", "bucket_at", "versioned"):
        if name in request.fixturenames:
            request.getfixturevalue(name)           # it has to outlive the mounts
    for program in (DAEMON, CTL):
        if not os.access(program, os.X_OK):
            missing(f"{program} is not built")
    if not os.path.exists("/dev/fuse"):
        missing("no /dev/fuse on this machine")
    request.node.mounts = made = []

    def make(via=None, s3=None, start=True, **kwargs):
        endpoint = via if isinstance(via, str) else (via or s3server).endpoint
        if start:
            kwargs.setdefault("noise", noise_of(request, via, seed + len(made)))
        if not request.node.get_closest_marker("probes"):
            kwargs.setdefault("is_open", lambda: not hasattr(via, "state") or via.passes_on())
        m = Mount(guard, (s3 or bucket).bucket, endpoint, server=(s3 or bucket).endpoint, **kwargs)
        made.append(m)
        return m.start() if start else m

    yield make
    problems = []
    for m in reversed(made):
        try:
            m.clean_up(failed(request))
        except AssertionError as e:
            problems.append(str(e))
    if problems:
        pytest.fail("\n\n".join(problems), pytrace=False)
