"""Folders in the forms of other programs: an empty object without a slash whose type or mode says that it is one
(s3fs of old, Nextcloud), "name_$folder$" (Hadoop of old), a marker of any type (consoles). Read, renamed and removed as
directories; what is made here is always a marker. On moto, which has a key beside keys below it."""

import concurrent.futures
import os
import time
import shutil
import stat
import subprocess

import pytest

TYPE = "application/x-directory"
BARE = {"old s3fs": {"ContentType": TYPE, "Metadata": {"mode": "448", "uid": "7"}},
        "with a charset": {"ContentType": "application/x-directory; charset=UTF-8"},
        "nextcloud": {"ContentType": "httpd/unix-directory"},
        "by its mode": {"ContentType": "text/plain", "Metadata": {"mode": str(stat.S_IFDIR | 0o700)}}}
NO_FOLDER = {"of a file's mode": {"ContentType": TYPE, "Metadata": {"mode": str(stat.S_IFREG | 0o600)}},
             "of another type": {"ContentType": "text/plain"}}


@pytest.fixture(params=["s3-buffered-lww", "s3-buffered-cas"])
def variant(request):
    return request.param


@pytest.fixture
def bucket(moto, bucket_at):
    return bucket_at(moto)


@pytest.fixture
def m(mount, moto, bucket, variant):
    return mount(via=moto, variant=variant, env={"STATEPROXY_CAS_PROBE": "off"})


@pytest.fixture
def lww(mount, moto, bucket):
    return mount(via=moto)


def is_dir(path):
    return stat.S_ISDIR(os.lstat(path).st_mode)


def test_without_a_slash(m, bucket):
    for i, form in enumerate(BARE):
        name = ("old", "old.d")[i % 2]                  # looked up by LIST, and by GET or HEAD
        bucket.put(m.key(name), b"", **BARE[form])
        p = m.path / name
        st = os.lstat(p)
        assert stat.S_ISDIR(st.st_mode), form
        if "Metadata" in BARE[form]:
            assert stat.S_IMODE(st.st_mode) == 0o700
        assert os.listdir(p) == []
        with pytest.raises(IsADirectoryError):
            open(p, "rb")
        with pytest.raises(FileExistsError):
            os.mkdir(p)
        with pytest.raises(IsADirectoryError):
            os.unlink(p)
        (p / "f.txt").write_bytes(b"x")
        assert is_dir(p) and os.listdir(p) == ["f.txt"]
        with pytest.raises(OSError):
            os.rmdir(p)
        os.unlink(p / "f.txt")
        os.rmdir(p)
        assert not os.path.lexists(p)
    assert not bucket.list()


def test_their_attributes_go_to_a_marker(mount, s3server, moto, bucket_at):
    """Servers on top of a file system have either the object or the marker."""
    for server in s3server, moto:
        bucket = bucket_at(server)
        m = mount(via=server, s3=bucket)
        bucket.put(m.key("d"), b"", ContentType=TYPE, Metadata={"team": "a"})
        os.chmod(m.path / "d", 0o710)
        assert bucket.list() == {m.key("d/"): 0}
        assert bucket.head(m.key("d/"))["Metadata"] | {"ctime": ""} == {
            "mode": str(stat.S_IFDIR | 0o710), "team": "a", "ctime": ""}
        os.rename(m.path / "d", m.path / "e")
        assert bucket.list() == {m.key("e/"): 0}


OF_A_FOLDER = {"mode": str(stat.S_IFDIR | 0o710), "uid": "7", "gid": "8", "mtime": "1500000000", "team": "a",
               "xattr": "%7B%22user.k%22%3A%22djE%3D%22%7D"}
CHANGES = {"setxattr": (lambda p: os.setxattr(p, "user.new", b"v2"), {"xattrs": ["user.k", "user.new"]}),
           "removexattr": (lambda p: os.removexattr(p, "user.k"), {"xattrs": []}),
           "chmod": (lambda p: os.chmod(p, 0o750), {"mode": 0o750}),
           "chown": (lambda p: os.chown(p, 9, 10), {"uid": 9, "gid": 10}),
           "utime": (lambda p: os.utime(p, (1e9, 1e9)), {"mtime": 10 ** 9})}


def put_folder(bucket, key, form):
    bucket.put(key + "_$folder$" * ("suffix" in form), b"", ContentType=TYPE, Metadata=OF_A_FOLDER)
    if "below" in form:
        bucket.put(key + "/f", b"x")


def attributes(path):
    st = os.stat(path)
    return {"mode": stat.S_IMODE(st.st_mode), "uid": st.st_uid, "gid": st.st_gid, "mtime": int(st.st_mtime),
            "xattrs": sorted(os.listxattr(path))}


@pytest.mark.parametrize("form", ["bare", "bare and below", "suffix", "suffix and below"])
@pytest.mark.parametrize("looked", [False, True])
def test_a_change_of_attributes_keeps_the_others(m, bucket, form, looked):
    """They are the object's, all of them; after a change the marker has the rest, too."""
    there = {"mode": 0o710, "uid": 7, "gid": 8, "mtime": 1500000000, "xattrs": ["user.k"]}
    for name, (change, changed) in CHANGES.items():
        put_folder(bucket, m.key(name), form)
        if looked:
            assert attributes(m.path / name) == there, name
        change(m.path / name)
        assert attributes(m.path / name) == {**there, **changed}, name
        assert bucket.head(m.key(name + "/"))["Metadata"]["team"] == "a"
        assert not {m.key(name), m.key(name + "_$folder$")} & bucket.list(m.key(name)).keys()
    m.check()


@pytest.mark.parametrize("form", ["bare", "suffix"])
def test_extended_attributes_where_only_one_form_can_be(mount, s3server, bucket_at, variant, form):
    """A server on top of a file system."""
    bucket = bucket_at(s3server)
    m = mount(via=s3server, s3=bucket, variant=variant)
    put_folder(bucket, m.key("d"), form)
    assert os.getxattr(m.path / "d", "user.k") == b"v1"
    os.setxattr(m.path / "d", "user.new", b"v2")
    assert sorted(os.listxattr(m.path / "d")) == ["user.k", "user.new"]
    assert bucket.list() == {m.key("d/"): 0} and bucket.head(m.key("d/"))["Metadata"]["team"] == "a"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("op, key", [("PutObject", "d/"), ("DeleteObject", "d")])
def test_workers_die_while_an_attribute_is_set(mount, moto, make_proxy, bucket, variant, when, op, key):
    proxy = make_proxy(moto.port)
    m = mount(via=proxy, variant=variant, env={"STATEPROXY_CAS_PROBE": "off"})
    put_folder(bucket, m.key("d"), "bare")
    assert is_dir(m.path / "d")
    proxy.hold("h", op=op, key=m.key(key), when=when, times=1)
    program = subprocess.Popen(["python3", "-c", "import os, sys; os.setxattr(sys.argv[1], 'user.new', b'v2')",
                                m.path / "d"])
    proxy.wait_held("h")
    dead = m.kill_workers()
    m.wait_workers(2, without=dead)
    assert program.wait(60) == 0
    proxy.release("h")      # what the dead workers have sent arrives when the call has returned
    proxy.wait_idle()
    assert sorted(os.listxattr(m.path / "d")) == ["user.k", "user.new"]
    assert bucket.list() == {m.key("d/"): 0} and bucket.head(m.key("d/"))["Metadata"]["team"] == "a"
    m.check()


@pytest.mark.parametrize("op, key, nth, when", [("DeleteObject", "d", 1, "after"), ("PutObject", "d/", 2, "before"),
                                                ("PutObject", "d/", 2, "after")])
@pytest.mark.parametrize("change", ["setxattr", "chmod"])
def test_workers_die_while_the_folder_is_nowhere(mount, s3server, bucket_at, make_proxy, variant, op, key, nth, when,
                                                 change):
    """A server on top of a file system has one form at a time: the object goes before its marker comes."""
    bucket = bucket_at(s3server)
    proxy = make_proxy(s3server.port)
    m = mount(via=proxy, s3=bucket, variant=variant)
    put_folder(bucket, m.key("d"), "bare")
    assert is_dir(m.path / "d")
    proxy.hold("h", op=op, key=m.key(key), when=when, nth=nth)
    call = "os.setxattr(sys.argv[1], 'user.new', b'v2')" if change == "setxattr" else "os.chmod(sys.argv[1], 0o701)"
    program = subprocess.Popen(["python3", "-c", f"import os, sys; {call}", m.path / "d"])
    proxy.wait_held("h")
    dead = m.kill_workers()
    m.wait_workers(2, without=dead)
    assert program.wait(60) == 0
    proxy.release("h")
    proxy.wait_idle()
    assert sorted(os.listxattr(m.path / "d")) == ["user.k"] + (["user.new"] if change == "setxattr" else [])
    kept = bucket.head(m.key("d/"))["Metadata"]
    assert bucket.list() == {m.key("d/"): 0} and kept["team"] == "a"
    assert change == "setxattr" or int(kept["mode"]) & 0o7777 == 0o701
    m.check()


def now(path):
    """The time of a directory that has just been changed."""
    mtime = int(os.stat(path).st_mtime)
    assert abs(mtime - time.time()) < 60
    return mtime


@pytest.mark.parametrize("form", ["bare and below", "suffix and below"])
@pytest.mark.parametrize("looked", [False, True])
@pytest.mark.parametrize("old", [False, True])
def test_emptied(mount, moto, bucket, variant, form, looked, old):
    """The marker that an emptied directory gets has what the folder has, of which the node need not know all."""
    m = mount(via=moto, variant=variant, env={"STATEPROXY_CAS_PROBE": "off", "STATEPROXY_DIRECTORIES_TTL":
                                              "1ms" if old else "60s"})
    there = {"mode": 0o710, "uid": 7, "gid": 8, "mtime": 1500000000, "xattrs": ["user.k"]}
    bucket.put(m.key("seen"), b"", ContentType=TYPE)
    assert is_dir(m.path / "seen")
    os.rmdir(m.path / "seen")
    put_folder(bucket, m.key("d"), form)
    if looked:
        assert attributes(m.path / "d") == there
    assert os.listdir(m.path / "d") == ["f"]
    os.unlink(m.path / "d/f")
    assert bucket.list() == {m.key("d/"): 0} and bucket.head(m.key("d/"))["Metadata"] == OF_A_FOLDER
    if looked:
        assert attributes(m.path / "d") == {**there, "mtime": now(m.path / "d")}
    os.chmod(m.path / "d", 0o750)
    assert attributes(m.path / "d") == {**there, "mode": 0o750, "mtime": now(m.path / "d")}
    assert bucket.head(m.key("d/"))["Metadata"]["team"] == "a"
    m.check()


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("form", ["bare", "suffix"])
def test_asked_for_while_they_go_to_the_marker(mount, moto, bucket, make_proxy, variant, form, late):
    """Who asks for the marker before it is put, and for the object after it was deleted, has not seen that there are
    none; neither has who changes something then."""
    proxy = make_proxy(moto.port)
    m = mount(via=proxy, variant=variant, env={"STATEPROXY_CAS_PROBE": "off"})
    put_folder(bucket, m.key("seen"), form)
    assert is_dir(m.path / "seen")
    put_folder(bucket, m.key("d"), form + " and below")
    assert "d" in os.listdir(m.path)
    old = m.key("d" + "_$folder$" * (form == "suffix"))
    proxy.hold("asked", op="HeadObject", key=old, when="before", times=1)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        asking = pool.submit(os.getxattr, m.path / "d", "user.k")
        proxy.wait_held("asked")
        proxy.hold("deleted", op="DeleteObject", key=old, when="after", times=1)
        changing = pool.submit(os.chmod, m.path / "d", 0o750)
        proxy.wait_held("deleted")
        if late:
            proxy.release("deleted")
            changing.result()
        proxy.release("asked")
        assert asking.result() == b"v1"
        proxy.release("deleted")
        changing.result()
    assert attributes(m.path / "d") == {"mode": 0o750, "uid": 7, "gid": 8, "mtime": 1500000000, "xattrs": ["user.k"]}
    assert bucket.head(m.key("d/"))["Metadata"]["team"] == "a"
    m.check()


def test_no_rename_between_the_look_and_the_marker(mount, moto, bucket, make_proxy):
    """A marker that came after the rename would bring the old name back."""
    proxy = make_proxy(moto.port)
    m = mount(via=proxy)
    bucket.put(m.key("d"), b"", ContentType=TYPE)
    assert is_dir(m.path / "d")
    proxy.hold("h", when="before", op="PutObject", key=m.key("d/"), times=1)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        changing = pool.submit(os.chmod, m.path / "d", 0o710)
        proxy.wait_held("h")
        moving = pool.submit(os.rename, m.path / "d", m.path / "e")
        done, _ = concurrent.futures.wait([moving], timeout=0.5)
        proxy.release("h")
        changing.result()
        moving.result()
    assert not done and bucket.list() == {m.key("e/"): 0}
    assert stat.S_IMODE(os.lstat(m.path / "e").st_mode) == 0o710
    m.check()


def test_that_are_none(m, bucket):
    for form in NO_FOLDER:
        bucket.put(m.key("f"), b"", **NO_FOLDER[form])
        assert stat.S_ISREG(os.lstat(m.path / "f").st_mode), form
    bucket.put(m.key("full"), b"x", ContentType=TYPE)
    assert (m.path / "full").read_bytes() == b"x"
    (m.path / "f").write_bytes(b"y")
    assert bucket.get(m.key("f")) == b"y"


def test_listed(m, bucket):
    """A listing has no types: once one such folder was met, empty objects are told as of unknown type, and
    looked at by who asks."""
    for name in "a", "b":
        bucket.put(m.key("top/" + name), b"", ContentType=TYPE)
    bucket.put(m.key("top/empty"), b"")
    assert is_dir(m.path / "top/a")
    assert {e.name: e.is_dir() for e in os.scandir(m.path / "top")} == {"a": True, "b": True, "empty": False}
    found = subprocess.run(["find", m.path / "top", "-mindepth", "1", "-type", "d", "-printf", "%f\n"],
                           stdout=subprocess.PIPE, check=True)
    assert sorted(found.stdout.split()) == [b"a", b"b"]
    subprocess.run(["rm", "-r", m.path / "top"], check=True)
    assert not bucket.list()


def test_beside_what_is_in_it(m, bucket):
    """s3fs of old has an object "d" and objects below "d/". All go with the directory; a file of the name stays."""
    bucket.put(m.key("d"), b"", ContentType=TYPE)
    bucket.put(m.key("d/f.txt"), b"x")
    bucket.put(m.key("e"), b"a file")
    bucket.put(m.key("e/f.txt"), b"x")
    assert {e.name: e.is_dir() for e in os.scandir(m.path)} == {"d": True, "e": True}
    for name in "d", "e":
        assert is_dir(m.path / name)
        shutil.rmtree(m.path / name)
    assert not os.path.lexists(m.path / "d")
    assert (m.path / "e").read_bytes() == b"a file"
    assert bucket.list() == {m.key("e"): 6}


def test_with_the_suffix(m, bucket):
    bucket.put(m.key("only_$folder$"), b"")
    bucket.put(m.key("both_$folder$"), b"")
    bucket.put(m.key("both/f.txt"), b"x")
    bucket.put(m.key("file_$folder$"), b"")
    bucket.put(m.key("file"), b"of that name")
    bucket.put(m.key("full_$folder$"), b"x")
    assert is_dir(m.path / "only")
    assert {e.name: e.is_dir() for e in os.scandir(m.path)} == {
        "only": True, "both": True, "file": False, "full_$folder$": False}
    assert not os.path.lexists(m.path / "only_$folder$")
    assert (m.path / "file").read_bytes() == b"of that name"
    assert (m.path / "full_$folder$").read_bytes() == b"x"
    assert os.listdir(m.path / "only") == []
    (m.path / "only/f.txt").write_bytes(b"x")
    for name in "only", "both":
        os.unlink(m.path / name / "f.txt")
        os.rmdir(m.path / name)
        assert not os.path.lexists(m.path / name)
    assert bucket.list().keys() == {m.key("file_$folder$"), m.key("file"), m.key("full_$folder$")}


def test_with_the_suffix_behind_many_names(m, bucket):
    """The lookup's page of 16 names ends before it: a HEAD asks, since this mount has met one."""
    for i in range(20):
        bucket.put(m.key(f"x{i:02d}"), b"x")
    bucket.put(m.key("x_$folder$"), b"")
    assert not os.path.lexists(m.path / "x")
    assert "x" in os.listdir(m.path)
    assert is_dir(m.path / "x")
    os.rmdir(m.path / "x")
    assert not bucket.list(m.key("x_"))


def test_of_a_console(m, bucket):
    for name, content_type in ("a", "binary/octet-stream"), ("b", "application/x-directory; charset=UTF-8"):
        bucket.put(m.key(name + "/"), b"", ContentType=content_type)
        assert is_dir(m.path / name)
        os.rmdir(m.path / name)
    assert not bucket.list()


def test_renamed(lww, mount, moto, bucket):
    bucket.put(lww.key("bare"), b"", ContentType=TYPE, Metadata={"mode": str(stat.S_IFDIR | 0o710), "team": "a"})
    bucket.put(lww.key("suffix_$folder$"), b"")
    bucket.put(lww.key("all"), b"", ContentType=TYPE, Metadata={"mode": str(stat.S_IFDIR | 0o710)})
    bucket.put(lww.key("all_$folder$"), b"")
    bucket.put(lww.key("all/"), b"", Metadata={"mode": str(stat.S_IFDIR | 0o720)})
    bucket.put(lww.key("all/f.txt"), b"x")
    for name in "bare", "suffix", "all":
        assert is_dir(lww.path / name)
        os.rename(lww.path / name, lww.path / ("to-" + name))
        assert not os.path.lexists(lww.path / name)
    assert bucket.list().keys() == {lww.key(k) for k in ("to-bare/", "to-suffix/", "to-all/", "to-all/f.txt")}
    assert bucket.head(lww.key("to-bare/"))["Metadata"]["team"] == "a"
    assert [int(bucket.head(lww.key(k))["Metadata"]["mode"]) & 0o777 for k in ("to-all/", "to-bare/")] == [0o720, 0o710]
    other = mount(via=moto).path
    assert sorted(os.listdir(other)) == ["to-all", "to-bare", "to-suffix"]


@pytest.mark.parametrize("call", ["rmdir", "rename"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_workers(mount, moto, make_proxy, bucket, call, when):
    """Before, and after the DELETE of such an object has reached the server."""
    proxy = make_proxy(moto.port)
    m = mount(via=proxy)
    bucket.put(m.key("d"), b"", ContentType=TYPE, Metadata={"team": "a"})
    bucket.put(m.key("d_$folder$"), b"")
    assert is_dir(m.path / "d")
    proxy.hold("h", op="DeleteObject", key=m.key("d"), when=when)
    program = subprocess.Popen(["rmdir", m.path / "d"] if call == "rmdir" else ["mv", m.path / "d", m.path / "e"])
    proxy.wait_held("h")
    dead = m.kill_workers()
    m.wait_workers(2, without=dead)
    proxy.release("h")
    assert program.wait(60) == 0
    assert bucket.list().keys() == (set() if call == "rmdir" else {m.key("e/")})
    if call == "rename":
        assert bucket.head(m.key("e/"))["Metadata"]["team"] == "a"
    m.check()


@pytest.mark.counts
def test_no_request_more_where_there_are_none(mount, s3server, bucket_at, proxy, counted, variant):
    """mkdir, rmdir, and a lookup that finds nothing (after a HEAD, as it might be a file)."""
    bucket = bucket_at(s3server)
    p = mount(via=proxy, s3=bucket, variant=variant).path
    assert counted(os.mkdir, p / "d") == {"ListObjectsV2": 1, "PutObject": 1}
    assert counted(os.path.lexists, p / "absent") == {"HeadObject": 1, "ListObjectsV2": 1}
    assert counted(os.rmdir, p / "d") == {"ListObjectsV2": 1, "DeleteObject": 1}
