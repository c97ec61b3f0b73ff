"""A directory without a marker stays when its last entry is taken: then it gets the marker that mkdir puts, if a fresh
listing shows that it was the last. One request, in that case only."""

import concurrent.futures
import os
import random
import shutil
import subprocess

import pytest

from harness import SLOW
from harness.connector import Connector
from harness.s3 import S3

LONG = {"STATEPROXY_DIRECTORIES_TTL": "60s"}


@pytest.fixture(params=["s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"])
def variant(request):
    return request.param


@pytest.fixture
def m(mount, proxy, variant):
    return mount(via=proxy, variant=variant, env=LONG)


@pytest.fixture
def puts(proxy):
    """The number of PUTs while the function runs."""
    def run(function, *args):
        proxy.wait_idle()
        proxy.reset_counts()
        function(*args)
        proxy.wait_idle()
        return proxy.counts()["PutObject"]
    return run


def test_by_unlink(m, mount, variant, bucket, puts):
    for name in "a.txt", "b.txt":
        bucket.put(m.key("d/" + name), b"x")
    assert sorted(os.listdir(m.path / "d")) == ["a.txt", "b.txt"]
    assert puts(os.unlink, m.path / "d/a.txt") == 0
    assert puts(os.unlink, m.path / "d/b.txt") == 1
    head = bucket.head(m.key("d/"))
    assert head["ContentLength"] == 0 and head["ContentType"] == "application/x-directory"
    assert os.listdir(m.path / "d") == []
    assert os.listdir(mount(variant=variant).path) == ["d"]
    (m.path / "d/c.txt").write_bytes(b"x")
    assert puts(os.unlink, m.path / "d/c.txt") == 0     # it has one now
    os.rmdir(m.path / "d")
    assert not bucket.list(m.key(""))


def test_by_rename(m, bucket, puts, variant):
    bucket.put(m.key("d/a.txt"), b"x")
    bucket.put(m.key("e/"), b"")
    os.listdir(m.path / "e")
    os.listdir(m.path / "d")
    of_the_file = 1 if variant == "s3-buffered-cas" else 0
    assert puts(os.rename, m.path / "d/a.txt", m.path / "d/b.txt") == of_the_file
    assert puts(os.rename, m.path / "d/b.txt", m.path / "e/b.txt") == of_the_file + 1
    assert bucket.list(m.key("")) == {m.key("d/"): 0, m.key("e/"): 0, m.key("e/b.txt"): 1}


def test_by_rename_of_a_directory(mount, proxy, bucket):
    m = mount(via=proxy, env=LONG)
    bucket.put(m.key("d/sub/a.txt"), b"x")
    os.listdir(m.path / "d")
    os.rename(m.path / "d/sub", m.path / "moved")
    assert bucket.list(m.key("")).keys() == {m.key("d/"), m.key("moved/a.txt")}
    assert os.listdir(m.path / "d") == []


@pytest.mark.parametrize("how", ["made", "marked", "subdirectory", "not listed"])
def test_where_none_is_needed(m, bucket, puts, how):
    if how == "made":
        os.mkdir(m.path / "d")
        (m.path / "d/a.txt").write_bytes(b"x")
    else:
        bucket.put(m.key("d/a.txt"), b"x")
    if how == "marked":
        bucket.put(m.key("d/"), b"")
    if how == "subdirectory":
        bucket.put(m.key("d/sub/f.txt"), b"x")
    if how != "not listed":
        os.listdir(m.path / "d")
    assert puts(os.unlink, m.path / "d/a.txt") == 0


def test_never_without_markers(mount, proxy, bucket, puts):
    m = mount(via=proxy, env={**LONG, "STATEPROXY_DIRECTORIES_MARKER": "false"})
    bucket.put(m.key("d/a.txt"), b"x")
    os.listdir(m.path / "d")
    assert puts(os.unlink, m.path / "d/a.txt") == 0
    assert not bucket.list(m.key(""))


def test_one_that_somebody_else_has_put_stays(m, bucket):
    bucket.put(m.key("d/a.txt"), b"x")
    os.listdir(m.path / "d")
    bucket.put(m.key("d/"), b"", Metadata={"mode": "16832", "origin": "elsewhere"})
    os.unlink(m.path / "d/a.txt")
    assert bucket.head(m.key("d/"))["Metadata"]["origin"] == "elsewhere"


def test_a_tree_is_removed(m, bucket):
    for i in range(5):
        bucket.put(m.key(f"d/{i}/f.txt"), b"x")
    subprocess.run(["rm", "-r", m.path / "d"], check=True, timeout=120 * SLOW)
    assert not bucket.list(m.key(""))
    bucket.put(m.key("e/sub/f.txt"), b"x")
    shutil.rmtree(m.path / "e")
    assert not bucket.list(m.key(""))


def remove_slowly(top, between):
    """As rm -r, with something after each step."""
    for dirpath, dirs, files in list(os.walk(top, topdown=False)):
        for name in files:
            os.unlink(os.path.join(dirpath, name))
            between()
        os.rmdir(dirpath)
        between()


def test_a_tree_is_removed_however_long_that_takes(mount, proxy, variant, bucket):
    """All that was listed is older than the listing's time when the next name goes."""
    m = mount(via=proxy, variant=variant, env={"STATEPROXY_DIRECTORIES_TTL": "1ms",
                                               "STATEPROXY_DIRECTORIES_ENTRY_TTL": "1ms"})
    for i in range(3):
        bucket.put(m.key(f"d/{i}/f.txt"), b"x")
        bucket.put(m.key(f"d/{i}/g.txt"), b"x")
        bucket.put(m.key(f"d/{i}/sub/f.txt"), b"x")
    subprocess.run(["rm", "-r", m.path / "d"], check=True, timeout=120 * SLOW)
    assert not bucket.list(m.key(""))
    bucket.put(m.key("e/sub/f.txt"), b"x")
    remove_slowly(m.path / "e", lambda: os.path.lexists(m.path / "none"))
    assert not bucket.list(m.key(""))


@pytest.mark.parametrize("ttl", ["1ms", "60s"])
def test_an_emptied_directory_is_still_there(mount, proxy, variant, bucket, ttl):
    m = mount(via=proxy, variant=variant, env={"STATEPROXY_DIRECTORIES_TTL": ttl,
                                               "STATEPROXY_DIRECTORIES_ENTRY_TTL": "1ms"})
    for key in "d/f.txt", "e/sub/f.txt", "s/f.txt", "s/g.txt":
        bucket.put(m.key(key), b"x")
    remove = {"d": "rm d/f.txt", "e": "rm -r e/sub", "s": "mv s/f.txt s/g.txt t"}
    os.mkdir(m.path / "t")
    for top, how in remove.items():
        subprocess.run(["ls", "-lR", m.path / top], check=True, stdout=subprocess.DEVNULL)
        subprocess.run(how, shell=True, cwd=m.path, check=True)
        assert os.listdir(m.path / top) == []
        assert bucket.exists(m.key(top + "/"))


def test_what_somebody_else_has_put_meanwhile(mount, proxy, bucket, puts):
    """An old listing does not make a directory empty."""
    m = mount(via=proxy, env={"STATEPROXY_DIRECTORIES_TTL": "1ms"})
    bucket.put(m.key("d/a.txt"), b"x")
    os.listdir(m.path / "d")
    bucket.put(m.key("d/b.txt"), b"x")
    assert puts(os.unlink, m.path / "d/a.txt") == 0
    assert os.listdir(m.path / "d") == ["b.txt"]


# -- more names than are known: as beyond 16 pages, or beyond the name table


MANY = [f"{i:03}" for i in range(40)]


@pytest.fixture
def many(mount, proxy, variant, bucket):
    """A mount whose listings of d are more than 16 pages, and too old as soon as they are there."""
    m = mount(via=proxy, variant=variant, env={"STATEPROXY_DIRECTORIES_TTL": "1ms",
                                               "STATEPROXY_DIRECTORIES_ENTRY_TTL": "1ms"})
    bucket.put_many((m.key("d/" + name), b"x") for name in MANY)
    proxy.add_rule("list", op="ListObjectsV2", key="p/d/", page=3)
    return m


@pytest.mark.parametrize("command", [("rm", ["-r"], []), ("find", [], ["-delete"])], ids=["rm", "find"])
def test_a_large_directory_is_removed(many, bucket, command):
    subprocess.run([command[0], *command[1], many.path / "d", *command[2]], check=True, timeout=60)
    assert not bucket.list() and not os.path.lexists(many.path / "d")
    many.check()


def test_directories_in_a_large_one_are_removed(many, bucket):
    for name in MANY[:20]:
        bucket.delete(many.key("d/" + name))
        bucket.put(many.key(f"d/{name}/f"), b"x")
    subprocess.run(["rm", "-r", many.path / "d"], check=True, timeout=60)
    assert not bucket.list() and not os.path.lexists(many.path / "d")


@pytest.mark.parametrize("order", ["forwards", "backwards", "random", "at once"])
def test_a_large_directory_stays(many, bucket, puts, order):
    """With one PUT, in whatever order its names go."""
    names = sorted(os.listdir(many.path / "d"), reverse=order == "backwards")
    assert len(names) == len(MANY)
    if order == "random":
        random.Random(3).shuffle(names)

    def remove():
        with concurrent.futures.ThreadPoolExecutor(8 if order == "at once" else 1) as pool:
            list(pool.map(os.unlink, [many.path / "d" / name for name in names]))
    assert puts(remove) == 1
    assert bucket.list() == {many.key("d/"): 0} and os.listdir(many.path / "d") == []
    many.check()


@pytest.mark.parametrize("last", [MANY[0], MANY[-1], "of others", "by another name"])
def test_the_last_of_a_large_directory(many, bucket, puts, last):
    """Whichever it is; one that somebody else has put meanwhile; one that was renamed."""
    os.listdir(many.path / "d")
    if last == "of others":
        bucket.put(many.key("d/" + last), b"x")
    if last == "by another name":
        os.rename(many.path / "d" / MANY[-1], many.path / "d" / last)
    for name in os.listdir(many.path / "d"):
        if name != last:
            os.unlink(many.path / "d" / name)
    assert bucket.list() == {many.key("d/" + last): 1}
    assert puts(os.unlink, many.path / "d" / last) == 1
    assert bucket.list() == {many.key("d/"): 0}


def test_others_of_a_large_one_are_removed_by_the_connector(mount, proxy, bucket, scratch):
    """The name that it is known to have, among them."""
    m = mount(via=proxy, env={"STATEPROXY_DIRECTORIES_TTL": "1ms", "STATEPROXY_CONNECTOR_SOCKET": str(scratch / "c")})
    bucket.put_many((m.key("d/" + name), b"x") for name in MANY)
    proxy.add_rule("list", op="ListObjectsV2", key="p/d/", page=3)
    assert len(os.listdir(m.path / "d")) == len(MANY)
    for name in MANY[1:]:
        assert Connector(scratch / "c").delete("d/" + name).status == 204
    os.unlink(m.path / "d" / MANY[0])
    assert bucket.list() == {m.key("d/"): 0}


@pytest.mark.counts
def test_what_removing_a_large_directory_costs(mount, proxy, bucket):
    """A few LISTs more, in whatever order."""
    m = mount(via=proxy, env=LONG)
    names = [f"{i:03}" for i in range(120)]
    bucket.put_many((m.key("d/" + name), b"x") for name in names)
    number = proxy.add_rule("list", op="ListObjectsV2", key="p/d/", page=6)
    assert len(os.listdir(m.path / "d")) == len(names)
    proxy.remove_rule(number)
    proxy.wait_idle()
    proxy.reset_counts()
    for name in reversed(names):
        os.unlink(m.path / "d" / name)
    proxy.wait_idle()
    assert len(proxy.log(op="ListObjectsV2", key="p/d/")) < 60
    assert bucket.list() == {m.key("d/"): 0}


@pytest.mark.counts
def test_what_removing_folders_without_objects_costs(mount, proxy, bucket):
    """A server on top of a file system lists them, but only beside others. Names that begin others come first, and
    their folders behind those."""
    m = mount(via=proxy, env=LONG)
    names = [f"{i:02}" for i in range(30)] + [f"{i:02}-x" for i in range(30)]
    number = proxy.add_rule("list", op="ListObjectsV2", folders=True, page=3)
    S3(proxy.endpoint, bucket.bucket).put_many((m.key(f"d/{name}/f"), b"x") for name in names)
    for name in names:
        bucket.delete(m.key(f"d/{name}/f"))
    assert len(os.listdir(m.path / "d")) == len(names) and not bucket.list()
    proxy.add_rule("list", op="ListObjectsV2", folders=True)
    proxy.remove_rule(number)
    proxy.wait_idle()
    proxy.reset_counts()
    for name in names:
        os.rmdir(m.path / "d" / name)
    proxy.wait_idle()
    asked = [e.key for e in proxy.log(op="ListObjectsV2") if e.key == "p/d/" or not e.key.endswith("/")]
    assert len(asked) < 60, len(asked)
    assert os.listdir(m.path / "d") == []
    m.check()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("op", ["ListObjectsV2", "PutObject"])
def test_killed_workers_keep_a_large_one(many, bucket, proxy, op, when):
    """While S3 is asked what is left, and while the marker is put."""
    os.listdir(many.path / "d")
    for name in MANY[:-1]:
        os.unlink(many.path / "d" / name)
    assert os.path.lexists(many.path / "d" / MANY[-1])
    proxy.clear_rules()
    proxy.hold("h", op=op, key="p/d/", when=when, times=1)
    remover = subprocess.Popen(["rm", many.path / "d" / MANY[-1]])
    proxy.wait_held("h")
    dead = many.kill_workers()
    many.wait_workers(2, without=dead)
    proxy.release("h")
    assert remover.wait(60) == 0
    assert bucket.list() == {many.key("d/"): 0}
    many.check()


def removed_while_workers_die(m, proxy, bucket, when, *command):
    """All workers are killed while d's marker is put."""
    proxy.hold("h", op="PutObject", when=when)
    remover = subprocess.Popen(command)
    proxy.wait_held("h")
    dead = m.kill_workers()
    m.wait_workers(2, without=dead)
    proxy.release("h")
    assert remover.wait(60 * SLOW) == 0
    assert bucket.list(m.key("")) == {m.key("d/"): 0}


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_workers_keep_the_one_above(m, proxy, bucket, when):
    bucket.put(m.key("d/sub/a.txt"), b"x")
    subprocess.run(["ls", "-lR", m.path / "d"], check=True, stdout=subprocess.DEVNULL)
    os.unlink(m.path / "d/sub/a.txt")
    removed_while_workers_die(m, proxy, bucket, when, "rmdir", m.path / "d/sub")


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_workers_keep_it(m, proxy, bucket, when):
    bucket.put(m.key("d/a.txt"), b"x")
    os.listdir(m.path / "d")
    removed_while_workers_die(m, proxy, bucket, when, "rm", m.path / "d/a.txt")


def test_attributes_at_the_first_stat(mount, proxy, bucket, counted, variant):
    """They are its marker's, not those of a directory without one: a HEAD, if the caller wants them.
    (And one before the LIST, as it might be a file.)"""
    m = mount(via=proxy, variant=variant, env=LONG)
    bucket.put(m.key("d/f.txt"), b"x")
    bucket.put(m.key("d/"), b"", Metadata={"mode": "16832", "mtime": "1500000000"})
    assert counted(os.stat, m.path / "d") == {"ListObjectsV2": 1, "HeadObject": 2}
    st = os.stat(m.path / "d")
    assert (st.st_mode, st.st_mtime) == (0o40700, 1500000000)


@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas"])
def test_the_mode_of_a_marker_with_content(mount, minio, bucket_at, variant):
    """(Not every server takes such an object.) It is copied onto itself, as a file."""
    b = bucket_at(minio)
    m = mount(variant=variant, s3=b, via=b.endpoint)
    b.put(m.key("d/"), b"content")
    b.put(m.key("d/x"), b"x")
    os.chmod(m.path / "d", 0o700)
    assert os.stat(m.path / "d").st_mode & 0o777 == 0o700
    assert b.get(m.key("d/")) == b"content"
