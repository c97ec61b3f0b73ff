"""More names than fit into the table of nodes: the kernel is asked to give back what nobody uses, so that programs
notice nothing; and where they hold all of them, they are told, and it goes on when they let go."""

import concurrent.futures
import contextlib
import errno
import os
import sys

import pytest

from harness import util

LWW, CAS = "s3-buffered-lww", "s3-buffered-cas"
SMALL = {"STATEPROXY_MEMORY_LIMIT": "64Mi"}
NODES = 16384           # that fit then
HOLDERS = 9             # a process may not have as many descriptors
PLACES = 100            # directories; a server lists a small one sooner

pytestmark = pytest.mark.limit(240)


def make_files(path, n):
    for i in range(n):
        os.close(os.open(path / f"f{i}", os.O_WRONLY | os.O_CREAT | os.O_EXCL))


def make_directories(path, n):
    for i in range(n):
        os.mkdir(path / f"d{i}")


@pytest.mark.slow
@pytest.mark.repeats
@pytest.mark.parametrize("variant, make", [(LWW, make_files), (LWW, make_directories), (CAS, make_files)])
def test_more_are_made_than_fit(mount, variant, make):
    """By a program that looks nothing up but what it makes."""
    m, n = mount(variant=variant, env=SMALL), (NODES + 1000) // PLACES
    places = [m.path / f"{i}" for i in range(PLACES)]
    for place in places:
        place.mkdir()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for made in [pool.submit(make, place, n) for place in places]:
            made.result()
    (m.path / "more").mkdir()
    assert "no room" not in m.log() and m.status()["counters"]["overload"] == 0
    assert sum(len(os.listdir(place)) for place in places) == n * PLACES
    m.check()


HOLD = """
import os, resource, sys
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held, code = 0, 0
for name in sys.stdin.readline().split():
    try:
        os.open(name, os.O_PATH)
        held += 1
    except OSError as e:
        code = e.errno
        break
print(held, code, flush=True)
sys.stdin.readline()
"""


@contextlib.contextmanager
def holding(path, names):
    """Programs that hold these names open, as far as that goes: how many, and the errno of the first that did not."""
    holders = [util.spawn([sys.executable, "-c", HOLD], stdin=-1) for _ in range(HOLDERS)]
    try:
        held, codes = 0, set()
        for i, p in enumerate(holders):
            p.stdin.write((" ".join(str(path / name) for name in names[i::HOLDERS]) + "\n").encode())
            p.stdin.flush()
            n, code = p.stdout.readline().split()
            held, codes = held + int(n), codes | {int(code)}
        yield held, codes - {0}
    finally:
        for p in holders:
            p.kill()
            p.wait()
            p.stdin.close()
            p.stdout.close()


def refused(call, *args):
    try:
        call(*args)
    except OSError as e:
        assert e.errno == errno.ENOMEM
        return True
    return False


@pytest.mark.slow
@pytest.mark.quiet("the names of others would be refused, too")
def test_all_are_held(mount, bucket):
    m = mount(env=SMALL)
    names = [f"{i % PLACES}/f{i}" for i in range(NODES + 100)]
    bucket.put_many((m.key(name), b"") for name in names)
    with holding(m.path, names) as (held, codes):
        assert held > NODES * 3 // 4 and codes == {errno.ESTALE}
        assert refused(os.mkdir, m.path / "new") and not bucket.exists(m.key("new/"))
        assert refused((m.path / "new").write_bytes, b"")
        assert "no room for another name" in m.log()
    # it goes on by itself, whatever comes first
    util.wait_until(lambda: not refused(os.mkdir, m.path / "new"), what="room")
    m.check()


def test_too_many_files_for_writing(mount):
    m = mount(env={"STATEPROXY_BUFFER_SESSIONS": "4"})
    files = [open(m.path / f"f{i}", "wb") for i in range(4)]
    with pytest.raises(OSError) as e:
        open(m.path / "more", "wb")
    assert e.value.errno == errno.ENFILE
    assert "too many files are open" in m.log() and " writing=4 sessions=4 " in m.log()
    for f in files:
        f.close()
    (m.path / "more").write_bytes(b"")
    m.check()
