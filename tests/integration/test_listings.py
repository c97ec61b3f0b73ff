"""Listings of servers that differ: which kind of entries comes first, how many are on a page, what
start-after and tokens do, folders without objects. Most are made by the proxy (its rule `list`).

STATEPROXY_TEST_TREES is the number of random trees (24); with more of them, they also grow larger.
"""

import contextlib
import errno
import os
import random
import shutil
import stat
import subprocess

import pytest

from harness import util
from harness.dirstream import DirStream
from harness.killer import Killer
from harness.s3 import S3

TREES = int(os.environ.get("STATEPROXY_TEST_TREES", "24"))
LARGEST = 700 if TREES <= 24 else 5000
TTL = {"STATEPROXY_DIRECTORIES_TTL": "60s"}

MIXED = [f"a{i:04}/x" for i in range(600)] + [f"z{i:04}" for i in range(600)]


SUFFIX = "_$folder$"


def names_of(keys):
    """{name: is it a directory} of the keys below a directory; the directory of two shows. An empty object
    "name_$folder$" is one if there is no other of its name."""
    out, folders = {}, set()
    for key in keys:
        name, slash, _ = key.partition("/")
        if not slash and name.endswith(SUFFIX) and name != SUFFIX:
            folders.add(name[:-len(SUFFIX)])
        elif name not in ("", ".", ".."):
            out[name] = bool(slash) or out.get(name, False)
    return {**{name: True for name in folders if name not in (".", "..")}, **out}


def below(keys, name):
    return [k[len(name) + 1:] for k in keys if k.startswith(name + "/")]


def listed(path):
    """The same of a listing; each name once."""
    with os.scandir(path) as entries:
        got = [(e.name, e.is_dir(follow_symlinks=False)) for e in entries]
    assert len(dict(got)) == len(got), sorted(n for n in dict(got) if got.count((n, True)) +
                                              got.count((n, False)) > 1)[:20]
    return dict(got)


def rule(proxy, directory, keys=(), **args):
    """Listings of this directory, or of its name, are the rule's; of `keys` below it alone, where
    there are any."""
    return proxy.add_rule("list", op="ListObjectsV2", key_regex=f"^p/{directory}(/|$)",
                          keys=[f"p/{directory}/{k}" for k in keys], only_keys=bool(keys), **args)


# -- more than a page of mixed entries


@pytest.mark.parametrize("server", ["s3server", "minio"])
@pytest.mark.repeats
def test_files_and_directories_on_several_pages(mount, bucket_at, request, scratch, server):
    s3 = bucket_at(request.getfixturevalue(server))
    s3.put_many((f"p/q/{key}", b"x") for key in MIXED)
    m = mount(via=s3.endpoint, s3=s3, env=TTL)
    assert listed(m.path / "q") == names_of(MIXED)
    if server == "s3server":
        subprocess.run(["cp", "-r", m.path / "q", scratch / "q"], check=True)
        assert len(list((scratch / "q").rglob("*"))) == 1800
        subprocess.run(["rm", "-r", m.path / "q"], check=True)
        assert not s3.list("p/q")


@pytest.mark.parametrize("order", ["keys", "prefixes", "shuffled"])
@pytest.mark.parametrize("page", [None, 7])
def test_either_kind_first(mount, proxy, order, page):
    keys = MIXED if page is None else MIXED[::30]
    m = mount(via=proxy)
    rule(proxy, "q", keys, order=order, page=page)
    assert listed(m.path / "q") == names_of(keys)
    assert not m.errors()


# -- a file beside a directory of its name


@pytest.mark.parametrize("between", [0, 5, 1500])
@pytest.mark.parametrize("order", ["keys", "prefixes"])
def test_a_file_and_a_directory_of_one_name(mount, proxy, bucket, between, order):
    """The directory shows, also where a page ends between the two."""
    keys = ["a", "n", "n/x", "o", *(f"n-{i:04}" for i in range(between)),
            "f", *(f"f-{i:04}" for i in range(between))]
    m = mount(via=proxy, env=TTL)
    rule(proxy, "d", keys, order=order)
    assert listed(m.path / "d") == names_of(keys)
    # What is listed by the rule is not there. But "n" looks like a folder of another program, and so
    # may "f": it is asked for.
    bucket.put(m.key("d/f"), b"")
    with os.scandir(m.path / "d") as entries:
        kinds = {e.name: stat.S_IFMT(e.stat().st_mode) for e in entries if e.name in "nf"}
    assert kinds == {"n": stat.S_IFDIR, "f": stat.S_IFREG}


# -- folders in two forms


FOLDERS = ["n/x", *(f"n{i:02}" for i in range(70)), "n" + SUFFIX,       # several pages apart
           "o", *(f"o{i:02}" for i in range(50)), "o" + SUFFIX,         # a file counts more
           *(f"p{i:02}" for i in range(50)), "p" + SUFFIX,              # in this form alone
           "q/x", "qa/x", *(f"qab{i:02}" for i in range(50)), "qa" + SUFFIX, "qc" + SUFFIX, "q" + SUFFIX, "r"]


@pytest.mark.parametrize("before", [0, 400])
def test_a_folder_in_two_forms(mount, proxy, before):
    """Once, however far apart they are, and behind the pages that are kept; again, when it is known already."""
    m = mount(via=proxy, workers=1, env={"STATEPROXY_DIRECTORIES_TTL": "1ms"})
    keys = [f"a{i:03}" for i in range(before)] + FOLDERS
    rule(proxy, "d", keys, page=20)
    numbers = []
    for _ in range(2):
        assert listed(m.path / "d") == names_of(keys)
        with os.scandir(m.path / "d") as entries:
            numbers.append({e.name: e.inode() for e in entries})
    assert numbers[0] == numbers[1] and len(set(numbers[0].values())) == len(numbers[0])
    assert not m.errors()
    m.check()


@pytest.mark.counts
def test_what_folders_in_two_forms_cost(mount, proxy):
    """Two LISTs for one of which an earlier page may have told; none for those on one page."""
    m = mount(via=proxy)
    near = [k for i in range(300) for k in (f"{i:03}/x", f"{i:03}{SUFFIX}")]
    rule(proxy, "near", near)
    rule(proxy, "far", ["n", *(f"n{i:04}" for i in range(1500)), "n" + SUFFIX])
    for name, names, lists in ("near", 300, 1), ("far", 1501, 4):
        proxy.reset_counts()
        assert len(os.listdir(m.path / name)) == names
        assert proxy.counts()["ListObjectsV2"] <= lists + 1, name    # and the LOOKUP


def test_a_page_that_is_cut_behind_a_folder(mount, proxy):
    """The file at its end is left to the next page, which begins behind the folder's object."""
    m = mount(via=proxy)
    keys = [*(f"x{i:02}" for i in range(18)), "x" + SUFFIX, *(f"y{i:02}" for i in range(50))]
    rule(proxy, "d", keys, page=20)
    assert listed(m.path / "d") == names_of(keys)


# -- what listings cost


@pytest.mark.counts
def test_what_that_costs(mount, proxy):
    """One LIST a page. A name that begins pages of others is asked about once more."""
    m = mount(via=proxy)
    keys = [f"{i:04}" for i in range(3500)]
    rule(proxy, "plain", keys)
    rule(proxy, "long", ["n", *(f"n-{i}" for i in keys)])
    for name, lists in ("plain", 4), ("long", 5):
        proxy.reset_counts()
        assert len(os.listdir(m.path / name)) in (3500, 3501)
        assert proxy.counts()["ListObjectsV2"] <= lists + 1, name    # and the LOOKUP


def test_a_name_among_many_that_begin_with_it(mount, proxy, bucket):
    """A LOOKUP sees a page of 16: the directory may be on it, before the others, or behind. (The file
    is there: HEAD is asked what an empty one is.)"""
    siblings = [f"n-{i:02}" for i in range(20)]
    for order in "keys", "prefixes", "shuffled":
        for uncounted in False, True:
            m = mount(via=proxy)
            bucket.put(m.key("e/n"), b"")
            rule(proxy, "d", ["n/x", *siblings, *(f"{s}/y" for s in siblings)], order=order,
                 uncounted=uncounted, shuffle=3)
            rule(proxy, "e", ["n", *siblings], order=order, uncounted=uncounted)
            rule(proxy, "f", siblings, order=order, uncounted=uncounted)
            proxy.add_rule("list", op="ListObjectsV2", key_regex="^p/d/n",
                           keys=["p/d/n/x", *(f"p/d/{s}/y" for s in siblings)], only_keys=True,
                           order=order, uncounted=uncounted)
            proxy.add_rule("list", op="ListObjectsV2", key_regex="^p/e/n", only_keys=True,
                           keys=["p/e/n", *(f"p/e/{s}" for s in siblings)], order=order,
                           uncounted=uncounted)
            assert stat.S_ISDIR((m.path / "d/n").stat().st_mode)
            assert stat.S_ISREG((m.path / "e/n").stat().st_mode)
            with pytest.raises(FileNotFoundError):
                (m.path / "f/n").stat()
            proxy.clear_rules()


# -- pages that are larger than asked for


@pytest.mark.parametrize("uncounted", [False, True])
def test_pages_of_4500(mount, proxy, uncounted):
    keys = [f"{i:04}" if i % 3 else f"{i:04}/x" for i in range(6000)]
    m = mount(via=proxy)
    rule(proxy, "d", keys, uncounted=uncounted, ignore=["max-keys"], order="shuffled")
    assert listed(m.path / "d") == names_of(keys)


def test_prefixes_that_do_not_count(mount, proxy):
    keys = [f"{i:04}" if i % 3 else f"{i:04}/x" for i in range(3000)]
    m = mount(via=proxy)
    rule(proxy, "d", keys, uncounted=True)
    rule(proxy, "prefixes", [f"{i:04}/x" for i in range(2500)], uncounted=True, order="prefixes")
    assert listed(m.path / "d") == names_of(keys)
    assert len(listed(m.path / "prefixes")) == 2500


def test_max_keys_is_always_sent(mount, proxy, bucket):
    m = mount(via=proxy)
    m.path.joinpath("d").mkdir()
    os.listdir(m.path / "d")
    os.rename(m.path / "d", m.path / "e")
    os.rmdir(m.path / "e")
    lists = proxy.log(op="ListObjectsV2")
    assert lists and all("max-keys=" in e.query for e in lists)


# -- start-after, tokens


@pytest.mark.parametrize("page", [None, 100])
def test_start_after_is_not_kept(mount, proxy, page):
    keys = [f"{i:04}" if i % 3 else f"{i:04}/x" for i in range(3500 if page is None else 1000)]
    m = mount(via=proxy)
    rule(proxy, "d", keys, ignore=["start-after"], page=page)
    proxy.reset_counts()
    assert listed(m.path / "d") == names_of(keys)
    assert proxy.counts()["ListObjectsV2"] < 45
    assert m.log().count("ignores start-after") in (1, 2)     # by each worker once


def test_neither_start_after_nor_tokens_are_kept(mount, proxy):
    """An error, after a bounded number of requests, and a word of what can be done."""
    m = mount(via=proxy)
    rule(proxy, "d", [f"{i:04}" for i in range(1500)], ignore=["start-after", "continuation-token"])
    proxy.reset_counts()
    with pytest.raises(OSError) as e:
        os.listdir(m.path / "d")
    assert e.value.errno == errno.EIO
    assert proxy.counts()["ListObjectsV2"] < 50
    assert "keeps neither start-after nor continuation tokens" in m.log()
    rule(proxy, "ok", [f"{i:04}" for i in range(900)], ignore=["start-after", "continuation-token"])
    assert len(os.listdir(m.path / "ok")) == 900


def test_a_token_that_is_refused(mount, proxy):
    """Once that is known by them, the server is asked by start-after again, and all is there."""
    m = mount(via=proxy, workers=1)
    keys = [f"{i:04}" for i in range(2500)]
    rule(proxy, "d", keys, ignore=["start-after"])
    assert listed(m.path / "d") == names_of(keys)
    assert "continuation tokens are used" in m.log()
    rule(proxy, "e", keys)
    with DirStream(m.path / "e") as d:
        got = [next(iter(d))[0]]    # the first page is there, its token is not known any more
        proxy.add_rule("answer", status=400, code="InvalidArgument", op="ListObjectsV2", key="p/e/",
                       times=1)
        got += [name for name, _ in d]
    assert got == keys and not m.errors()
    assert [e.status for e in proxy.log(op="ListObjectsV2", key="p/e/")].count(400) == 1


@pytest.mark.parametrize("names", ["\xe9{:04}", "a {:04}", "\U0001f600{:04}"])
def test_start_after_is_compared_with_coded_keys(mount, proxy, names):
    """Everything is behind a name with a space, and nothing behind one that is not ASCII."""
    keys = [names.format(i) for i in range(2300)]
    m = mount(via=proxy)
    rule(proxy, "d", keys, compare="coded")
    assert listed(m.path / "d") == names_of(keys)


def test_workers_die_while_tokens_are_needed(mount, proxy):
    m = mount(via=proxy)
    keys = [f"{i:04}" for i in range(2000)]
    rule(proxy, "d", keys, ignore=["start-after"], page=100)
    with DirStream(m.path / "d") as d:
        got = []
        for i, (name, _) in enumerate(d):
            got.append(name)
            if i % 500 == 250:
                m.kill_workers()
    assert sorted(got) == keys
    m.wait_workers(2)
    m.check()


def test_a_page_without_entries(mount, proxy):
    """A server that filters what it has found says that more follow."""
    empty = ('<?xml version="1.0"?><ListBucketResult><IsTruncated>true</IsTruncated>'
             '<NextContinuationToken>cC9kLzA=</NextContinuationToken></ListBucketResult>')
    m = mount(via=proxy)
    keys = [f"1{i:02}" for i in range(20)]
    rule(proxy, "d", keys)
    proxy.add_rule("answer", status=200, body=empty, op="ListObjectsV2", key="p/d/", times=1)
    assert listed(m.path / "d") == names_of(keys)


# -- folders without objects


def put_through(proxy, bucket, key):
    """So that the proxy knows the folders."""
    S3(proxy.endpoint, bucket.bucket).put(key, b"x")


@pytest.fixture
def folders(mount, proxy):
    proxy.add_rule("list", op="ListObjectsV2", folders=True)
    return mount(via=proxy)


def test_rmdir_ends_a_folder(folders, bucket):
    path = folders.path
    (path / "d").mkdir()
    (path / "d/f").write_bytes(b"x")
    (path / "d/f").unlink()
    bucket.delete("p/d/")                       # the object goes, the folder stays
    assert listed(path) == {"d": True}
    (path / "d").rmdir()
    assert listed(path) == {} and not (path / "d").exists()


def test_rmdir_of_a_folder_with_a_folder(folders, bucket, proxy):
    path = folders.path
    put_through(proxy, bucket, "p/d/sub/f")
    (path / "d/sub/f").unlink()
    assert not bucket.list("p/")
    with pytest.raises(OSError) as e:
        (path / "d").rmdir()
    assert e.value.errno == errno.ENOTEMPTY
    subprocess.run(["rm", "-r", path / "d"], check=True)
    assert listed(path) == {}


def test_a_renamed_folder_leaves_nothing(folders, bucket, proxy):
    path = folders.path
    # (no objects for the folders themselves)
    for name in "old/a/b/f", "old/a/c/f", "old/g":
        put_through(proxy, bucket, f"p/{name}")
    os.rename(path / "old", path / "new")
    assert listed(path) == {"new": True}
    assert sorted(bucket.list("p/")) == ["p/new/a/b/f", "p/new/a/c/f", "p/new/g"]
    assert listed(path / "new") == {"a": True, "g": False}
    shutil.rmtree(path / "new")
    assert listed(path) == {}


def test_a_folder_that_cannot_be_ended(folders, bucket, proxy):
    """The rename is done all the same, and says what is left."""
    put_through(proxy, bucket, "p/old/a/f")
    proxy.add_rule("answer", status=204, op="DeleteObject", key="*/")
    os.rename(folders.path / "old", folders.path / "new")
    assert sorted(bucket.list("p/")) == ["p/new/a/f"]
    assert 'an empty folder remains folder="p/old/a/"' in folders.log()


@pytest.mark.counts
def test_what_rmdir_and_rename_cost(mount, proxy, bucket):
    """A DELETE of the marker, always; one."""
    m = mount(via=proxy, env=TTL)
    for marker in False, True:
        bucket.put("p/old/f", b"x")
        if marker:
            bucket.put("p/old/")
        m.path.joinpath("old").stat()
        proxy.reset_counts()
        os.rename(m.path / "old", m.path / f"new{marker}")
        counts = proxy.counts()
        assert counts["DeleteObject"] == 2 and counts["CopyObject"] == 1, counts
        assert counts["ListObjectsV2"] <= 4, counts
    m.path.joinpath("e").mkdir()
    proxy.reset_counts()
    m.path.joinpath("e").rmdir()
    assert proxy.counts() == {"ListObjectsV2": 1, "DeleteObject": 1}


# -- renames, however little a page holds


@pytest.mark.parametrize("page", [1, 2, 5])
@pytest.mark.parametrize("ignore", [[], ["start-after"]])
def test_rename_with_small_pages(mount, proxy, bucket, page, ignore):
    m = mount(via=proxy)
    keys = ["", "a", "b/", "b/c/", "b/c/d/", "b/c/d/x", "b/c/y", "e/", "f/g/h"]
    for key in keys:
        bucket.put(f"p/old/{key}", b"")
    proxy.add_rule("list", op="ListObjectsV2", page=page, order="shuffled", ignore=ignore)
    os.rename(m.path / "old", m.path / "new")
    assert sorted(bucket.list("p/")) == sorted(f"p/new/{key}" for key in keys)


def test_rename_with_large_pages(mount, proxy, bucket):
    m = mount(via=proxy)
    keys = [f"{i:04}" for i in range(1300)] + ["", "0500/", "0500/z/"]
    bucket.put_many((f"p/old/{key}", b"") for key in keys if key != "0500")
    proxy.add_rule("list", op="ListObjectsV2", ignore=["max-keys"], order="shuffled")
    os.rename(m.path / "old", m.path / "new")
    assert len(bucket.list("p/new/")) == 1302 and not bucket.list("p/old/")


# -- random trees


LETTERS = ("ab-.!~ %+&'\"<A0\x7f\\=#?;\xe9\uff5e\U0001f600")


def random_name(rng, known):
    base = rng.choice(known) if known and rng.random() < 0.5 else ""
    return base + "".join(rng.choice(LETTERS) for _ in range(rng.randint(1, 4)))


def random_keys(rng, n):
    """Names that begin alike; files, directories, both, in each form; one level deeper some more; odd ones."""
    known, keys = [], set()
    while len(keys) < n:
        name = random_name(rng, known)[:60]
        known.append(name)
        kind = rng.random()
        if kind < 0.6:
            keys.add(name)
        if kind > 0.5:
            keys.add(f"{name}/{rng.choice(LETTERS)}")
        if kind > 0.9:
            keys.add(name + SUFFIX)
        if kind > 0.95:
            keys.add(rng.choice([name * 80, name + "/", name + "//x", "./" + name, "../" + name]))
    return sorted(k for k in keys if len(k.encode()) < 900)


def random_rule(rng, n):
    page = rng.choice([None, 1, 2, rng.randint(3, 20), rng.randint(20, 1000)])
    if n > 2500 and page:
        page = max(page, n // 50)
    # (A server that does not count prefixes is known by pages of more than was asked for.)
    return {"order": rng.choice(["keys", "prefixes", "shuffled"]), "shuffle": rng.randrange(100),
            "page": page, "uncounted": page is None and rng.random() < 0.5,
            "ignore": rng.choice([[], [], [], ["start-after"], ["max-keys"]])}


@contextlib.contextmanager
def move_held_up(m, proxy, old, new, name, others):
    """The rename of a directory when so many of its keys are at the new name only, and this one is not."""
    proxy.reset_counts()
    proxy.hold("copy", op="CopyObject", key=m.key(f"{new}/{name}"))
    rename = util.spawn(["mv", m.path / old, m.path / new])
    try:
        proxy.wait_held("copy")
        proxy.wait_count(others, op="DeleteObject", finished=True)
        yield
    finally:
        proxy.release("copy")
    util.finish(rename)


@pytest.mark.parametrize("below", ["sub", "sub/deep"])
def test_what_was_listed_while_its_directory_moved_is_listed_anew(mount, bucket, proxy, below):
    """Such a listing may have shown a part: what had gone already, or had not come yet, was missing."""
    m = mount(via=proxy, env={**TTL, "STATEPROXY_DIRECTORIES_ENTRY_TTL": "60s"})
    names = {f"f{i}.bin" for i in range(4)}
    for name in names:
        bucket.put(m.key(f"d/{below}/{name}"), b"x")
    os.listdir(m.path / "d" / below)
    (m.path / "d" / below / "own.bin").write_bytes(b"y")         # so that it is listed anew
    names.add("own.bin")
    with move_held_up(m, proxy, "d", "e", f"{below}/f3.bin", 4):
        shown = set(util.run(["ls", m.path / "d" / below]).out.split())
    assert shown < names
    assert set(os.listdir(m.path / "e" / below)) == names
    for name in names:
        assert (m.path / "e" / below / name).exists()
    m.check()


def test_an_answer_about_the_old_name_that_comes_after_the_move(mount, bucket, proxy):
    """It says that nothing is there: this is not about the link that the directory has now."""
    m = mount(via=proxy, env=TTL)
    (m.path / "d").mkdir()
    (m.path / "d/last.bin").write_bytes(b"x")
    (m.path / "d/link.bin").symlink_to("last.bin")
    with move_held_up(m, proxy, "d", "e", "last.bin", 1):
        assert not os.path.lexists(m.path / "d/link.bin")       # so that the kernel asks once only
        proxy.hold("answer", when="after", op="HeadObject", key=m.key("d/link.bin"))
        asks = util.spawn(["stat", m.path / "d/link.bin"])
        proxy.wait_held("answer")
    proxy.release("answer")
    asks.communicate(timeout=20)
    with os.scandir(m.path / "e") as entries:
        assert {e.name: e.is_symlink() for e in entries} == {"last.bin": False, "link.bin": True}
    m.check()


def test_a_file_that_is_open_while_its_directory_moves(mount, bucket, proxy):
    """It is the one that has the new name, though somebody has looked for it at the old one."""
    m = mount(via=proxy, env=TTL)
    for name in ("last.bin", "f.bin"):
        bucket.put(m.key(f"d/{name}"), b"old")
    before = os.open(m.path / "d/f.bin", os.O_RDWR)
    with move_held_up(m, proxy, "d", "e", "last.bin", 1):
        assert not os.path.lexists(m.path / "d/f.bin")
    after = os.open(m.path / "e/f.bin", os.O_RDWR)
    os.pwrite(before, b"N", 0)
    assert os.pread(after, 3, 0) == b"Nld"
    os.pwrite(after, b"W", 2)
    assert os.pread(before, 3, 0) == b"NlW"
    os.close(after)
    os.close(before)
    assert bucket.get(m.key("e/f.bin")) == b"NlW" and not bucket.list(m.key("d/"))
    m.check()


def test_a_file_that_is_opened_while_its_directory_moves(mount, bucket, proxy):
    """What was to be loaded has moved: the open says so, the file stays what it was."""
    m = mount(via=proxy, env=TTL)
    (m.path / "d").mkdir()
    for name in ("last.bin", "f.bin"):
        (m.path / "d" / name).write_bytes(bytes(300_000))
        (m.path / "d" / name).chmod(0o600)
    bucket.put(m.key("d/f.bin"), bytes(300_001), Metadata=bucket.head(m.key("d/f.bin"))["Metadata"])
    assert (m.path / "d/f.bin").stat().st_mode & 0o777 == 0o600
    proxy.hold("load", op="GetObject", key=m.key("d/f.bin"), skip=1)    # the first is the lookup's
    opens = util.spawn(["sh", "-c", ': <>"$1"', "sh", m.path / "d/f.bin"])
    proxy.wait_held("load")
    with move_held_up(m, proxy, "d", "e", "last.bin", 1):
        proxy.release("load")
        _, told = opens.communicate(timeout=20)
    assert opens.returncode and told, told
    with os.scandir(m.path / "e") as entries:
        assert {e.name: e.stat().st_mode & 0o777 for e in entries} == \
            {"last.bin": 0o600, "f.bin": 0o600}
    m.check()


def test_a_shell_stays_in_a_directory_that_moves(mount, bucket, proxy):
    """Though nothing is left at its old name, and somebody has asked for it there."""
    m = mount(via=proxy, env={"STATEPROXY_DIRECTORIES_TTL": "1ms",
                              "STATEPROXY_DIRECTORIES_ENTRY_TTL": "1ms"})
    for name in ("last.bin", "sub/f.bin"):
        bucket.put(m.key(f"d/{name}"), b"x")
    shell = util.spawn(["sh", "-c", 'cd "$1" && echo there && read x && pwd -P && cat f.bin && echo y >g.bin',
                        "sh", m.path / "d/sub"], stdin=-1)
    assert shell.stdout.readline() == b"there\n"
    with move_held_up(m, proxy, "d", "e", "last.bin", 1):
        asked = proxy.counts()["ListObjectsV2"]
        assert (m.path / "d/sub").is_dir() and not (m.path / "d/sub/f.bin").exists()
        assert proxy.counts()["ListObjectsV2"] > asked
    out, _ = shell.communicate(b"\n", timeout=20)
    assert (shell.returncode, out) == (0, f"{m.path}/e/sub\nx".encode())
    assert set(os.listdir(m.path / "e/sub")) == {"f.bin", "g.bin"}
    assert bucket.get(m.key("e/sub/g.bin")) == b"y\n"
    m.check()


def test_what_was_looked_for_while_its_directory_moved_is_what_it_was(mount, bucket, proxy):
    """Nothing was there then, though it could not be made; afterwards all that was known of it is known: that
    it is a link, its mode."""
    m = mount(via=proxy, env=TTL)
    (m.path / "d").mkdir()
    (m.path / "d/last.bin").write_bytes(b"x")
    (m.path / "d/file.bin").write_bytes(b"y")
    (m.path / "d/file.bin").chmod(0o600)
    (m.path / "d/link").symlink_to("file.bin")
    with move_held_up(m, proxy, "d", "e", "last.bin", 2):
        for name in ("link", "file.bin"):
            assert not os.path.lexists(m.path / "d" / name)
        with pytest.raises(OSError) as e:
            os.open(m.path / "d/file.bin", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        assert e.value.errno == errno.ESTALE
    with os.scandir(m.path / "e") as entries:
        found = {e.name: (e.is_symlink(), e.stat(follow_symlinks=False).st_mode & 0o777)
                 for e in entries}
    assert found == {"link": (True, 0o777), "file.bin": (False, 0o600), "last.bin": (False, 0o644)}
    assert (m.path / "e/file.bin").read_bytes() == b"y"
    m.check()


@pytest.mark.slow
@pytest.mark.repeats
@pytest.mark.limit(60 + 8 * TREES)
def test_random_trees(mount, proxy, seed):
    """Equal to a model; read in one go, read from any place, and while workers are killed."""
    rng = random.Random(seed * 1000 + TREES)
    m = mount(via=proxy)
    shown = 0
    for i in range(TREES):
        keys = random_keys(rng, rng.choice([rng.randint(0, 30), rng.randint(30, LARGEST)]))
        args = random_rule(rng, len(keys))
        case = f"tree {i}: {len(keys)} keys, {args}"
        want = names_of(keys)
        number = rule(proxy, f"t{i}", keys or ["."], **args)
        assert listed(m.path / f"t{i}") == want, case
        shown += len(want)
        seek_about(m.path / f"t{i}", want, rng, case)
        if i % 3 == 0:
            read_while_killed(m, m.path / f"t{i}", want, seed + i, case)
        for name in rng.sample(sorted(n for n in want if want[n]), min(2, sum(want.values()))):
            assert listed(m.path / f"t{i}" / name) == names_of(below(keys, name)), case
        proxy.remove_rule(number)
    assert shown > 50 * TREES and not m.errors()
    m.check()


def seek_about(path, want, rng, case):
    with DirStream(path) as d:
        places = []
        while True:
            at, entry = d.tell(), d.entry()
            if entry is None:
                break
            places.append((at, entry))
        assert len(places) == len(want) + 2, case
        for at in rng.sample(range(len(places)), min(4, len(places))):
            d.seek(places[at][0])
            assert [d.entry() for _ in range(3)] == \
                ([e for _, e in places[at:at + 3]] + [None] * 3)[:3], case
        d.rewind()
        assert dict(d) == want, case


def read_while_killed(m, path, want, seed, case):
    killer = Killer(m, 1 << 30, seed, 0.005, 0.03)
    killer.start()
    try:
        for _ in range(2):
            with DirStream(path) as d:
                got = list(d)
            assert len(got) == len(want) and dict(got) == want, case
    finally:
        killer.cancelled.set()
        killer.join(30)
    assert killer.error is None


@pytest.mark.parametrize("before", ["file", "directory"])
@pytest.mark.parametrize("names", [1, 1500])
def test_what_was_removed_and_made_again_during_a_listing_is_listed_once(mount, bucket, before, names):
    """S3 has listed the one of before, and this mount has another that S3 does not have yet."""
    m = mount()
    (m.path / "d").mkdir()
    others = [f"e{i}" for i in range(names - 1)]
    bucket.put_many((m.key(f"d/{name}"), b"") for name in others)
    name = m.path / "d" / "f"
    name.mkdir() if before == "directory" else name.write_bytes(b"before")
    with DirStream(m.path / "d") as d:
        assert d.entry()[0] == "."
        assert sorted(os.listdir(m.path / "d")) == [*sorted(others), "f"]      # of the same listing
        name.rmdir() if before == "directory" else name.unlink()
        with open(name, "wb") as f:
            assert sorted(n for n, _ in d) == [*sorted(others), "f"]
            assert sorted(os.listdir(m.path / "d")) == [*sorted(others), "f"]
            f.write(b"again")
    assert sorted(os.listdir(m.path / "d")) == [*sorted(others), "f"]
    m.check()


def test_a_directory_that_the_server_finds_not_empty(mount, proxy):
    """versitygw, if another client has put something in after our look."""
    m = mount(via=proxy)
    (m.path / "d").mkdir()
    proxy.add_rule("answer", op="DeleteObject", key=m.key("d/"), status=400, code="ErrDirectoryNotEmpty")
    with pytest.raises(OSError) as e:
        (m.path / "d").rmdir()
    assert e.value.errno == errno.ENOTEMPTY
