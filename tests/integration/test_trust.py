"""Everything that can happen, at once: no application notices, and nothing is left of it.

STATEPROXY_TEST_KILLS is how many workers are killed (default: what fits a run of all tests; 1000 takes some minutes,
and larger trees are used then)."""

import os
import random
import threading

import pytest

from harness import SLOW, util
from harness.footprint import assert_footprint, footprint
from harness.killer import Killer
from harness.pattern import pattern
from harness.s3 import S3
from harness.tree import assert_same_files, assert_tree_equal, make_tree
from harness.work import (assert_writers_files, kill_all, start_busy, start_copier, start_writer,
                          still_running)

KILLS = int(os.environ.get("STATEPROXY_TEST_KILLS", "100"))
FULL = KILLS >= 1000
EACH = 0.05             # of each kind of fault
KINDS = 7               # that the proxy's add_faults() knows

# kills, faults, outages. The others are halves of the first, for when it fails.
CASES = {"all at once": (KILLS, True, True)}
if FULL:
    CASES.update({"kills alone": (KILLS, False, False), "the server alone": (0, True, True)})

# No outage here is as long as the deadline, so none may be seen.
PATIENT = {"STATEPROXY_S3_DEADLINE": f"{int(120 * SLOW)}s", "STATEPROXY_S3_MAX_ATTEMPTS": "20"}


class ServerKiller(threading.Thread):
    """Kills the S3 server and starts it again, until `cancelled` is set."""

    def __init__(self, server, seed, low, high):
        super().__init__(name="server killer", daemon=True)
        self.server, self.low, self.high = server, low, high
        self.random = random.Random(seed)
        self.cancelled = threading.Event()
        self.kills = 0
        self.error = None

    def run(self):
        try:
            while not self.cancelled.wait(self.random.uniform(self.low, self.high)):
                self.server.kill()
                self.kills += 1
                self.cancelled.wait(self.random.uniform(0, 0.5))
                self.server.start()
        except BaseException as e:      # told by finish(), in the test's own thread
            self.error = e

    def finish(self):
        self.cancelled.set()
        self.join(60 * SLOW)
        if self.error:
            raise self.error
        if not self.server.running():
            self.server.start()


def assert_numbered(data, count):
    assert data == b"".join(b"%d\n" % i for i in range(count))


@pytest.mark.slow
@pytest.mark.limit(60 + 1.2 * KILLS)
@pytest.mark.parametrize("kills, faults, outages", CASES.values(), ids=CASES)
def test_all_at_once(mount, own_server, make_proxy, scratch, seed, kills, faults, outages):
    """Workers are killed, the server is killed and started again, and each kind of fault meets 5 % of the requests,
    while programs write and compare, copy trees in and out, list, append, rename files and a directory."""
    bucket = S3(own_server.endpoint, "all-at-once", own_server.root).create()
    proxy = make_proxy(own_server.port)
    m = mount(s3=bucket, via=proxy, workers=2, env=PATIENT)
    before = footprint(m)
    source = make_tree(scratch / "source", 500 if FULL else 25, seed)
    moved = {f"f{i:04d}": pattern(i * 17 % 3000, i) for i in range(1000 if FULL else 30)}
    bucket.put_many([("p/dir/", b""), *((f"p/dir/{n}", d) for n, d in moved.items()),
                     *((f"p/still/d{i % 7}/f{i}.txt", b"x" * i) for i in range(100))])
    programs = [start_writer(m, scratch, seed), start_copier(m, scratch, source),
                start_busy(scratch, "append", m.path / "log"),
                start_busy(scratch, "rename", m.path / "dir", m.path / "renamed"),
                start_busy(scratch, "list", m.path / "still")]
    killer = Killer(m, kills, seed, 0.03, 0.13)
    server = ServerKiller(own_server, seed, 1.0, 4.0)
    if faults:
        proxy.add_faults(EACH * KINDS, seed, lost_ms=100, slow_ms=150)
    try:
        if outages:
            server.start()
        killer.start()
        if kills:
            killer.finish((30 + kills) * SLOW, still_running(*programs))
        else:
            util.wait_until(lambda: server.kills >= 25 or still_running(*programs)(), 200,
                            "25 outages", every=0.1)
        if outages:
            server.finish()
        proxy.clear_rules()
        (scratch / "stop").touch()
        outs = [util.finish(p, 60 + KILLS / 5).out for p in programs]
    finally:
        killer.cancelled.set()
        server.cancelled.set()
        if server.is_alive():
            server.join(60)
        kill_all(programs)
    rounds, lines, renames, lists = (int(x) for x in outs[1:])
    operations = assert_writers_files(m, bucket, scratch)
    print(f"{killer.kills} kills, {server.kills} outages; {operations} operations compared, {rounds} "
          f"trees copied, {lines} lines appended, {renames} directory renames, {lists} listings; "
          f"requests met by faults: {sum(1 for x in proxy.log() if x.faults)} of {len(proxy.log())}")
    assert_tree_equal(source, bucket, "p/copier/tree")
    assert_same_files(source, scratch / "out")
    assert_numbered(bucket.get("p/log"), lines)
    assert bucket.list("p/renamed") == {}
    assert {k[len("p/dir/"):]: bucket.get(k) for k in bucket.list("p/dir/f")} == moved
    assert not bucket.uploads()
    m.wait_workers(2)
    m.check()

    # With the files gone, nothing that they needed is held any more.
    util.run(["rm", "-r", *sorted(m.path.iterdir())], timeout=120)
    assert bucket.list() == {}
    assert_footprint(m, before)
    m.check()
