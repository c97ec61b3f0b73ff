"""A directory of more names than are kept: its pages stream through (list.h, LIST_PAGES_KEPT)."""

import ctypes
import os
import subprocess
import threading

import pytest

from harness.s3 import S3

NAMES = 20000
KEPT = 16000
PAGES = NAMES // 999 + 1        # the last name of each is asked for again: "name/" could follow


@pytest.fixture(scope="module")
def many(s3server):
    s3 = S3(s3server.endpoint, f"test-{os.getpid()}-{NAMES}", s3server.root).create()
    s3.put_many((f"p/many/{i:05}.txt", b"x" * (i % 100)) for i in range(NAMES))
    yield s3
    s3.remove()


EXPECTED = [f"{i:05}.txt" for i in range(NAMES)]


@pytest.mark.repeats
def test_names_stream_through(mount, proxy, many):
    m = mount(via=proxy, s3=many)
    assert sorted(os.listdir(m.path / "many")) == EXPECTED
    counts = proxy.counts()
    assert counts.get("ListObjectsV2") <= PAGES + 2 and not counts.get("HeadObject"), counts
    tables = m.status()["tables"]
    assert tables["nodes"] <= KEPT + 500
    assert tables["blocks_ready"] <= KEPT / 1000 + 3
    m.check()


@pytest.mark.quiet("counts what is asked")
def test_attributes_are_told_where_they_are_wanted(mount, proxy, many):
    """A request for some entries before nodes would be made no more; none afterwards. (Those of a listing that has
    become too old meanwhile, on a busy machine, would be asked for, too.)"""
    m = mount(via=proxy, s3=many, env={"STATEPROXY_DIRECTORIES_TTL": "60s"})
    out = subprocess.run(["ls", "-lU", m.path / "many"], check=True, stdout=subprocess.PIPE,
                         text=True).stdout.splitlines()[1:]
    assert sorted((line.split()[8], int(line.split()[4])) for line in out) == \
        [(name, i % 100) for i, name in enumerate(EXPECTED)]
    counts = proxy.counts()
    assert sum(counts.values()) <= PAGES + 12, counts
    tables = m.status()["tables"]
    assert tables["nodes"] > KEPT + 3000 or tables["evictions"], "or as many as have room"


def test_two_readers_at_once(mount, many):
    m, got = mount(s3=many), {}

    def read(i):
        got[i] = os.listdir(m.path / "many")
    threads = [threading.Thread(target=read, args=(i,)) for i in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(got[0]) == EXPECTED and sorted(got[1]) == EXPECTED


def test_seeking_back(mount, proxy, many):
    """telldir at each name of the last pages, and seekdir there from the end."""
    m = mount(via=proxy, s3=many)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.opendir.restype = libc.readdir.restype = ctypes.c_void_p
    libc.telldir.restype = ctypes.c_long
    libc.telldir.argtypes = libc.readdir.argtypes = libc.closedir.argtypes = [ctypes.c_void_p]
    libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
    d = libc.opendir(os.fsencode(m.path / "many"))
    places = []

    def name():
        entry = libc.readdir(d)
        return ctypes.string_at(entry + 19).decode() if entry else None
    while True:
        at, entry = libc.telldir(d), name()
        if entry is None:
            break
        places.append((at, entry))
    assert len(places) == NAMES + 2
    for i in (NAMES - 1, 17500, 17499, 16003, 15998, 900, 2):
        libc.seekdir(d, places[i][0])
        assert [name() for _ in range(3)] == ([e for _, e in places[i:i + 3]] + [None] * 3)[:3]
    libc.closedir(d)
    m.check()


def test_names_come_and_go_meanwhile(mount, many):
    """What is not touched while a listing goes on is in it once."""
    m = mount(s3=many)
    seen = []
    with os.scandir(m.path / "many") as entries:
        for i, entry in enumerate(entries):
            if i % 2000 == 0:
                (m.path / "many" / "zz-new").write_bytes(b"x")
                os.unlink(m.path / "many" / "zz-new")
            seen.append(entry.name)
    assert sorted(n for n in seen if n != "zz-new") == EXPECTED


def test_nodes_are_asked_back(mount, proxy, many):
    """More names than nodes, of all of which the kernel is told: it forgets some of them."""
    m = mount(via=proxy, s3=many, env={"STATEPROXY_MEMORY_LIMIT": "64Mi",
                                       "STATEPROXY_DIRECTORIES_TTL": "60s"})  # however slow we are
    for _ in range(2):
        out = subprocess.run(["ls", "-lU", m.path / "many"], check=True, stdout=subprocess.PIPE,
                             text=True).stdout.splitlines()[1:]
        assert sorted(line.split()[8] for line in out) == EXPECTED
    status = m.status()
    assert status["tables"]["nodes"] < NAMES
    assert status["fuse"].get("BATCH_FORGET", 0) + status["fuse"].get("FORGET", 0) > 10
    # Few of those that it forgets are asked for by name: when their page has gone meanwhile, too.
    assert sum(proxy.counts().values()) < 2 * PAGES + NAMES // 10
    m.check()
