"""Files in company: somebody else lists, looks, reads, or touches a lock in between; a shell stays the
parent of what it runs; an object comes from elsewhere. Nothing of that may be felt.

Both variants, unless a test is about one. What S3 has and says is the truth everywhere here."""

import concurrent.futures
import errno
import fcntl
import os
import pathlib
import signal
import subprocess
import threading
import time

import pytest

from harness import util
from harness.pattern import pattern
from harness.work import PYTHON
from test_cas import CAS

LWW = "s3-buffered-lww"
TTL = {"STATEPROXY_DIRECTORIES_TTL": "1s"}
NO_TTL = {"STATEPROXY_DIRECTORIES_TTL": "1ms"}
BIG = 600_000               # more than came with a lookup, and than one block
TEXT = b"x" * 1000


@pytest.fixture(params=[LWW, CAS], ids=["lww", "cas"])
def variant(request):
    return request.param


@pytest.fixture
def m(mount, variant):
    return mount(variant=variant, env=TTL)


class Wrongs:
    """Several cases in one test: each is told, not only the first."""

    def __init__(self):
        self.found = []

    def expect(self, got, expected, *case):
        if got != expected:
            self.found.append(f"{case}: {short(got)}, expected {short(expected)}")
            return False
        return True

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None and self.found:
            pytest.fail(f"{len(self.found)} cases\n" + "\n".join(self.found))


def short(what):
    if isinstance(what, bytes) and len(what) > 40:
        return f"{len(what)} bytes {what[:20]!r}"
    return repr(what)[:400]


def result_of(function, *args):
    """What it gives, or the name of its error (of a script: what it says)."""
    try:
        return function(*args)
    except OSError as e:
        return type(e).__name__ if type(e) is not OSError else errno.errorcode[e.errno]
    except AssertionError as e:
        return str(e)


def made_known(how, directory, bucket, key, by):
    """Makes a directory of the mount known: to nobody, as listed just now, or as made here."""
    if how == "made":
        by.mkdir(directory)
    else:
        bucket.put(key + "/neighbour", b"n")
    if how == "listed":
        by.listdir(directory)
    elif how == "listed long":
        by.list_long(directory)


KNOWN = ["unknown", "made", "listed", "listed long"]


# -- 1. who opens a file for writing takes it from nobody


def published(origin, known, top, bucket, key, a, b):
    """f of 1,000 bytes, known to whom `origin` says, in a directory that b makes known. (What comes
    from elsewhere into one that was made here is section 6's.)"""
    if known == "made":
        b.mkdir(top)
    else:
        bucket.put(key + "/neighbour", b"n")
    if origin == "written here" or known == "made":
        (a if origin == "written here" else b).write_all(top / "f", TEXT)
    else:
        bucket.put(key + "/f", TEXT)
    if origin == "read here":
        assert a.read_all(top / "f") == TEXT
    if known.startswith("listed"):
        b.listdir(top) if known == "listed" else b.list_long(top)


DOINGS = {
    "append": lambda b, f: b.run('echo y >> "$1"', f),
    "touch": lambda b, f: b.run('touch "$1"', f),
    "flock": lambda b, f: b.run('flock "$1" true', f),
    "create": lambda b, f: b.close(b.open(f, os.O_RDWR | os.O_CREAT)),
    "cat": lambda b, f: b.run('cat "$1" >/dev/null', f),
    "list": lambda b, f: b.run('ls -l "$(dirname "$1")"', f),
}


@pytest.mark.parametrize("doing", DOINGS)
def test_a_writer_that_writes_nothing_hides_nothing(m, bucket, actor, doing):
    a, other = actor(), actor()
    n = 0
    with Wrongs() as wrongs:
        for known in KNOWN:
            for origin in ("put elsewhere", "written here", "read here"):
                for b in (other, a):
                    n += 1
                    case = known, origin, "another" if b is other else "the same"
                    top, key = m.path / f"d{n}", m.key(f"d{n}")
                    published(origin, known, top, bucket, key, a, other)
                    fd = a.open(top / "f", os.O_RDWR)
                    if known.startswith("listed"):
                        other.listdir(top)
                    result_of(DOINGS[doing], b, top / "f")
                    expected = TEXT + (b"y\n" if doing == "append" else b"")
                    wrongs.expect(bucket.get(key + "/f"), expected, *case, "on S3")
                    wrongs.expect(result_of(other.read_all, top / "f"), expected, *case, "read")
                    wrongs.expect(result_of(other.size, top / "f"), len(expected), *case, "stat")
                    wrongs.expect("f" in other.listdir(top), True, *case, "listed")
                    wrongs.expect(result_of(a.close, fd), None, *case, "close")
                    wrongs.expect(bucket.get(key + "/f"), expected, *case, "after the close")


@pytest.mark.parametrize("flags", [os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_APPEND])
def test_a_name_stays_while_somebody_has_it_open(m, bucket, actor, flags):
    """Creation and rename onto it, within the listing's time, know that it is there."""
    a, b = actor(), actor()
    with Wrongs() as wrongs:
        for i, known in enumerate(KNOWN):
            top, key = m.path / f"d{i}", m.key(f"d{i}")
            published("elsewhere", known, top, bucket, key, a, b)
            fd = a.open(top / "f", flags)
            b.listdir(top)
            exclusive = os.O_RDWR | os.O_CREAT | os.O_EXCL
            wrongs.expect(result_of(b.open, top / "f", exclusive), "FileExistsError", known, "excl")
            wrongs.expect(result_of(b.mkdir, top / "f"), "FileExistsError", known, "mkdir")
            wrongs.expect(result_of(b.symlink, "x", top / "f"), "FileExistsError", known, "symlink")
            wrongs.expect(result_of(b.rmdir, top), "ENOTEMPTY", known, "rmdir")
            wrongs.expect(bucket.get(key + "/f"), TEXT, known)
            wrongs.expect(result_of(a.close, fd), None, known, "close")


def test_what_is_emptied_or_changed_before_its_publish_is_there_for_others(mount, bucket, actor):
    m, a, b = mount(variant=CAS, env=TTL), actor(), actor()
    with Wrongs() as wrongs:
        for i, flags in enumerate([os.O_RDWR | os.O_TRUNC, os.O_RDWR, os.O_WRONLY | os.O_APPEND]):
            top, key = m.path / f"d{i}", m.key(f"d{i}")
            a.mkdir(top)
            a.write_all(top / "f", TEXT)
            b.listdir(top)
            fd = a.open(top / "f", flags)
            a.write(fd, b"new")
            for _ in range(2):
                wrongs.expect(result_of(b.read_all, top / "f"), TEXT, flags, "read")
                wrongs.expect(b.list_long(top).get("f", (0, 0))[1], len(TEXT), flags, "list")
            wrongs.expect(result_of(b.flock, top / "f"), None, flags, "flock")
            a.close(fd)
            expected = {0: b"new", 1: b"new" + TEXT[3:], 2: TEXT + b"new"}[i]
            wrongs.expect(bucket.get(key + "/f"), expected, flags)
            wrongs.expect(result_of(b.read_all, top / "f"), expected, flags, "afterwards")


# -- 2. what a process and its children have done is known before anything else


SCRIPTS = [
    "echo a >f; echo b >g; mv f f~; mv g f",
    "echo a >f; mv f g; echo b >f; mv g f",
    "echo a >f; echo b >g; mv --backup g f; echo c >f",
    "echo a >f; echo b >g; mv --backup=numbered g f; echo c >>f",
    "echo a >f; sed -i.bak s/a/b/ f",
    "echo a >f; sed -i.bak s/a/b/ f; sed -i.bak s/b/c/ f; cat f.bak",
    "echo a >f; sed -i s/a/b/ f; echo c >f",
    "echo a >f; sed -i s/a/b/ f; echo c >>f",
    "echo a >f; read x <f; sed -i s/a/b/ f; echo c >f",
    "echo a >f; read x <f; (echo b >f); echo c >>f",
    "echo a >f; read x <f; rm f; echo c >f",
    "echo a >f; echo b >g; read x <f; mv g f; echo c >f; read y <f; mv f g; echo d >g",
    "echo a >f; rm f; echo b >f",
    "echo a >f; rm f; echo b >>f",
    "echo a >f; rm f; touch f; echo b >>f",
    "echo a >f; rm f; set -C; echo b >f",
    "echo a >f; cat f; rm f; echo b >f; cat f; mv f g; echo c >f",
    "echo a >f; cp f g; mv g f; echo c >>f",
    "echo a >f; cp /dev/null f; echo b >f",
    "echo a >f; truncate -s 0 f; echo b >f",
    "echo a >f; truncate -s 1 f; echo b >>f",
    "echo a >f; cp f g; echo b >g; cp g f; echo c >f",
    "echo a >f; tee f <f.none; echo b | tee f; echo c >f",
    ": >f; mv f g; : >f; echo x >f",
    ": >f; rm f; : >f; rm f; test -e f",
    "mkdir d; echo a >d/f; rm -r d; mkdir d; echo b >d/f",
    "mkdir d; echo a >d/f; mv d e; mkdir d; echo b >d/f; cat e/f d/f",
    "for i in 1 2 3 4; do echo $i >t; mv t f; cat f; done; echo 5 >f",
    "for i in 1 2 3 4; do echo $i >t; ln -s t l; mv l k; readlink k; rm t; done",
    "exec 3>>log; echo 1 >&3; mv log log.1; exec 3>>log; echo 2 >&3; exec 3>&-; cat log.1",
    "exec 3>f; echo 1 >&3; (echo 2 >&3); cat /dev/null; echo 3 >&3; exec 3>&-",
    "echo a >f; (echo b >f; rm f); echo c >f; (mv f g); echo d >f; (cat g >f); echo e >>f",
    "echo a >f; install -b -m 600 f g; install -b -m 600 g f; echo b >f",
    "echo a >f; (echo b >f); (echo c >f); echo d >f; (sed -i s/d/e/ f); echo f >>f",
    "(echo a >f); (rm f); (echo b >f); echo c >f; rm f; (echo d >f)",
    "python='import os; open(\"f\",\"w\").write(\"1\"); os.rename(\"f\",\"g\"); os.remove(\"g\")'\n"
    "echo a >f; python3 -c \"$python\"; echo b >f; echo c >g",
]
BETWEEN = {"nobody": "", "ls": "ls -l . >/dev/null; ", "reader": "cat f >/dev/null 2>&1; ls -l "
           ">/dev/null; "}


def with_between(script, between):
    """The same commands, with something that changes nothing after each."""
    return "".join(f"{command}; {between}" for command in script.split("; ")) + between


def run_script(script, cwd):
    done = subprocess.run(["sh", "-c", script + "\n:"], cwd=cwd, stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=60)
    return done.stdout, done.stderr.replace(b"cannot create f: File exists", b"")


def local_tree(top):
    return {str(p.relative_to(top)): os.readlink(p).encode() if p.is_symlink() else p.read_bytes()
            for p in sorted(pathlib.Path(top).rglob("*")) if not p.is_dir()}


def may_have_between(script, between):
    return not between or not any(w in script for w in ("for ", "exec", "set -C", "(", "python"))


@pytest.mark.parametrize("between", BETWEEN)
@pytest.mark.parametrize("ttl", [TTL, NO_TTL], ids=["within", "beyond"])
def test_scripts_do_what_they_do_on_a_local_disk(mount, variant, bucket, scratch, between, ttl):
    m = mount(variant=variant, env=ttl)
    with Wrongs() as wrongs:
        for i, script in enumerate(SCRIPTS):
            if not may_have_between(script, BETWEEN[between]):
                continue
            here, there = m.path / f"s{i}", scratch / f"s{i}"
            here.mkdir(), there.mkdir()
            full = with_between(script, BETWEEN[between]) if BETWEEN[between] else script
            wrongs.expect(run_script(full, here), run_script(full, there), script, "says")
            expected = local_tree(there)
            wrongs.expect(local_tree(here), expected, script, "leaves")
            prefix = m.key(f"s{i}/")
            on_s3 = {k[len(prefix):]: bucket.get(k) for k in bucket.list(prefix)
                     if not k.endswith("/")}
            wrongs.expect(on_s3, expected, script, "leaves on S3")


def test_a_removal_is_known_to_who_has_made_it_and_to_its_parent(m, actor, bucket):
    """Unlink, rename away, rename onto: by the process, by a child that ends, by one that stays."""
    with Wrongs() as wrongs:
        for i, how in enumerate(["itself", "in a child", "by a child that stays", "by its parent"]):
            a = actor()
            child = a.child()
            writer, remover = {"by a child that stays": (a, child),
                               "by its parent": (child, a)}.get(how, (a, a))
            for j, (what, args) in enumerate([("unlink", ()), ("rename", ("g",)),
                                              ("replace", ("h",))]):
                top = m.path / f"d{i}{j}"
                a.mkdir(top)
                writer.write_all(top / "f", b"1")
                writer.write_all(top / "h", b"other")
                args = [top / "f", *(top / x for x in args)]
                if how == "in a child":
                    a.in_child(what, *map(str, args))
                else:
                    remover._call(what, *args)
                got = result_of(writer.write_all, top / "f", b"2", os.O_EXCL)
                wrongs.expect(got, None, how, what, "create anew")
                got = result_of(bucket.get, m.key(f"d{i}{j}/f")) if got is None else got
                wrongs.expect(got, b"2", how, what)


# -- 3. a process sees its own bytes, whoever else looks


LOOKERS = {
    "ls -l": lambda b, top: b.run('ls -l "$1"', top),
    "find": lambda b, top: b.run('find "$1" -type f', top),
    "scandir": lambda b, top: b.list_long(top),
    "stat": lambda b, top: result_of(b.stat, f"{top}/f"),
    "cat": lambda b, top: result_of(b.read_all, f"{top}/f"),
}


@pytest.mark.parametrize("looker", LOOKERS)
def test_own_unpublished_bytes_stay_in_sight(m, bucket, actor, looker):
    a, other = actor(), actor()
    n = 0
    with Wrongs() as wrongs:
        for old in (None, b"old bytes"):
            for flags in (os.O_CREAT | os.O_EXCL, os.O_CREAT | os.O_TRUNC, os.O_CREAT | os.O_APPEND):
                if old is not None and flags & os.O_EXCL:
                    continue
                for b in (other, a):
                    n += 1
                    case = old, oct(flags), "another" if b is other else "the same"
                    top, f = m.path / f"d{n}", m.path / f"d{n}/f"
                    a.mkdir(top)
                    if old is not None:
                        a.write_all(f, old)
                    expected = (old or b"" if flags & os.O_APPEND else b"") + b"new"
                    fd = a.open(f, os.O_RDWR | flags)
                    a.write(fd, b"new")
                    for _ in range(2):
                        LOOKERS[looker](b, top)
                        wrongs.expect(result_of(a.read_all, f), expected, *case, "read")
                        wrongs.expect(result_of(a.size, f), len(expected), *case, "stat")
                    again = result_of(a.open, f, os.O_WRONLY | os.O_APPEND)
                    if wrongs.expect(isinstance(again, int), True, *case, f"open again: {again}"):
                        a.write(again, b"!")
                        LOOKERS[looker](b, top)
                        wrongs.expect(result_of(a.close, again), None, *case, "second close")
                        expected += b"!"
                    wrongs.expect(result_of(a.close, fd), None, *case, "close")
                    wrongs.expect(bucket.get(m.key(f"d{n}/f")), expected, *case, "on S3")


def test_own_unpublished_file_is_changed_by_name(m, bucket, actor):
    """truncate, chmod, utime, rename, unlink by path, right after somebody's ls."""
    a, b = actor(), actor()
    doings = {
        "truncate": (("truncate", "f", 2), {"f": b"ne"}),
        "chmod": (("chmod", "f", 0o600), {"f": b"new"}),
        "utime": (("utime", "f", (7, 7)), {"f": b"new"}),
        "rename": (("rename", "f", "g"), {"g": b"new"}),
        "unlink": (("unlink", "f"), {}),
    }
    with Wrongs() as wrongs:
        for old in (None, b"old bytes"):
            for what, ((call, *args), expected) in doings.items():
                name = f"{what}{'' if old is None else 2}"
                top = m.path / name
                a.mkdir(top)
                if old is not None:
                    a.write_all(top / "f", old)
                fd = a.open(top / "f", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
                a.write(fd, b"new")
                b.list_long(top)
                args = [top / x if isinstance(x, str) else x for x in args]
                wrongs.expect(result_of(a._call, call, *args), None, what, old, "call")
                wrongs.expect(result_of(a.close, fd), None, what, old, "close")
                prefix = m.key(name) + "/"
                there = {k[len(prefix):]: bucket.get(k) for k in bucket.list(prefix) if k != prefix}
                wrongs.expect(there, expected, what, old, "on S3")
                if what == "chmod":
                    wrongs.expect(result_of(b.attributes, top / "f")[0], 0o100600, what, old)


@pytest.mark.parametrize("between", ["nothing", "list"])
@pytest.mark.parametrize("second", [os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_DSYNC,
                                    os.O_WRONLY | os.O_APPEND])
def test_two_descriptors_of_one_process_are_of_one_file(m, bucket, actor, second, between):
    """As LMDB has them: both are opened before anything is written, and each publishes."""
    a, b = actor(), actor()
    f, key = m.path / "d/f", m.key("d/f")
    for origin in ("elsewhere", "here"):
        a.write_all(f, TEXT) if origin == "here" else bucket.put(key, TEXT)
        first = a.open(f, os.O_RDWR)
        b.list_long(m.path / "d") if between == "list" else None
        other = a.open(f, second)
        expected = bytearray(TEXT)
        for i in range(3):
            a.pwrite(first, b"1%d" % i, 10)
            a.fdatasync(first)
            expected[10:12] = b"1%d" % i
            b.list_long(m.path / "d") if between == "list" else None
            a.pwrite(other, b"2%d" % i, 20)
            a.fsync(other)
            expected = expected + b"2%d" % i if second & os.O_APPEND else \
                expected[:20] + b"2%d" % i + expected[22:]
            assert a.pread(first, 4000, 0) == expected
        a.close(other)
        a.close(first)
        assert bucket.get(key) == expected


def test_threads_of_one_process_write_one_file(m, bucket):
    """Whichever of them opens it, changes its part, or closes it in between."""
    threads, files, wrong = 2, 30, []
    gate = threading.Barrier(threads)

    def change(part):
        for n in range(files):
            gate.wait()
            try:
                fd = os.open(m.path / f"f{n}", os.O_RDWR)
                os.pwrite(fd, b"new", part * 10)
                os.close(fd)
            except OSError as e:
                wrong.append((n, part, e))

    for n in range(files):
        bucket.put(m.key(f"f{n}"), TEXT)
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        list(pool.map(change, range(threads)))
    assert not wrong
    for n in range(files):
        assert bucket.get(m.key(f"f{n}")) == (b"new" + TEXT[:7]) * threads + TEXT[threads * 10:], n
    m.check()


# -- 4. who has a file open reads it to its end


CHANGES = {
    "replace": lambda b, f: (b.write_all(f"{f}.new", b"n" * BIG), b.replace(f"{f}.new", f)),
    "replace by a small one": lambda b, f: (b.write_all(f"{f}.new", b"n"),
                                            b.replace(f"{f}.new", f)),
    "unlink": lambda b, f: b.unlink(f),
    "rename": lambda b, f: b.rename(f, f"{f}.away"),
    "unlink and make anew": lambda b, f: (b.unlink(f), b.write_all(f, b"n" * BIG)),
}


def content(n):
    return bytes((i * 7 + i // 251 + n) % 256 for i in range(BIG))


@pytest.mark.parametrize("change", CHANGES)
def test_an_open_reader_reads_the_old_file_to_its_end(m, bucket, actor, change):
    reader, other = actor(), actor()
    with Wrongs() as wrongs:
        for n, (origin, who) in enumerate([("put", other), ("put", reader), ("written", other),
                                           ("written", reader)]):
            top, f, data = m.path / f"d{n}", m.path / f"d{n}/f", content(n)
            bucket.put(m.key(f"d{n}/f"), data)
            if origin == "written":
                who.write_all(f, data)
            who.read_all(f, 0) if who is not reader else None
            fd = reader.open(f, os.O_RDONLY)
            assert reader.read(fd, 10) == data[:10]
            other.list_long(top)
            result = result_of(CHANGES[change], who, f)
            wrongs.expect(isinstance(result, (str, int)), False, origin, f"change: {result}")
            case = origin, "the reader's" if who is reader else "another's"
            wrongs.expect(result_of(reader.read_to_end, fd), data[10:], *case)
            wrongs.expect(result_of(reader.fstat, fd)[6], BIG, *case, "fstat")
            reader.close(fd)


def test_an_open_reader_keeps_what_a_writer_of_it_unlinks(m, bucket, actor, variant):
    """The writer has unpublished bytes in it: what it removes by name is its own node."""
    a, b = actor(), actor()
    bucket.put(m.key("f"), pattern(BIG))
    fd = b.open(m.path / "f", os.O_RDONLY)
    got = b.read(fd, 10)
    writer = a.open(m.path / "f", os.O_RDWR)
    if variant == CAS:                          # (else its reader sees what is written)
        a.write(writer, b"new")
    a.unlink(m.path / "f")
    assert not bucket.exists(m.key("f"))
    while more := b.read(fd, BIG):
        got += more
    assert got == pattern(BIG)
    a.close(writer)
    assert not bucket.exists(m.key("f"))
    m.check()


@pytest.mark.parametrize("change", [*CHANGES, "rewrite"])
def test_a_mapping_is_read_to_its_end(m, bucket, actor, change):
    """No SIGBUS, whatever is done to the name; in place: the old bytes or the new ones."""
    other = actor()
    data, new = content(1), content(2)
    bucket.put(m.key("d/f"), data)
    reader = actor()
    fd = reader.open(m.path / "d/f", os.O_RDONLY)
    reader.map(fd)
    assert reader.map_read(fd, 0, 10) == data[:10]
    other.list_long(m.path / "d")
    if change == "rewrite":
        w = other.open(m.path / "d/f", os.O_WRONLY)
        other.write(w, new)
        other.close(w)
        assert reader.map_read(fd, 10, BIG) in (data[10:], new[10:])
        assert bucket.get(m.key("d/f")) == new
    else:
        CHANGES[change](other, str(m.path / "d/f"))
        assert reader.map_read(fd, 10, BIG) == data[10:]
    reader.unmap(fd)
    reader.close(fd)


@pytest.mark.parametrize("how", ["wb", "r+b", "ab"])
def test_an_open_reader_of_a_file_that_is_rewritten_reads_whole_versions(m, bucket, actor, how):
    reader, other = actor(), actor()
    flags = {"wb": os.O_WRONLY | os.O_TRUNC, "r+b": os.O_RDWR, "ab": os.O_WRONLY | os.O_APPEND}
    data, new = content(1), content(2)
    for n, who in enumerate((other, reader)):
        bucket.put(m.key(f"d/{n}"), data)
        fd = reader.open(m.path / f"d/{n}", os.O_RDONLY)
        assert reader.read(fd, 10) == data[:10]
        w = who.open(m.path / f"d/{n}", flags[how])
        who.write(w, new)
        who.close(w)
        expected = data + new if how == "ab" else new
        assert bucket.get(m.key(f"d/{n}")) == expected
        assert reader.read_to_end(fd) in (data[10:], expected[10:])
        reader.close(fd)


@pytest.mark.parametrize("keeps_open", [True, False], ids=["one open file", "opened each time"])
def test_tail_f_shows_new_lines(m, keeps_open, scratch, actor):
    log, a = m.path / "f.log", actor()
    a.write_all(log, b"0\n")
    with open(scratch / "out", "wb") as out:
        tail = util.spawn(["tail", "-n", "+1", "-s", "0.05", "-f", log], stdout=out)
    try:
        util.wait_until(lambda: (scratch / "out").read_text() == "0\n", 5, "the first line")
        fd = a.open(log, os.O_WRONLY | os.O_APPEND)
        for i in range(1, 6):
            a.write(fd, f"{i}\n".encode())
            a.fsync(fd)
            if not keeps_open:
                a.close(fd)
                fd = a.open(log, os.O_WRONLY | os.O_APPEND)
        a.close(fd)
        expected = "".join(f"{i}\n" for i in range(6))
        util.wait_until(lambda: (scratch / "out").read_text() == expected, 5,
                        "the lines that tail has to see")
    finally:
        os.killpg(tail.pid, signal.SIGKILL)
        tail.communicate()


@pytest.fixture
def versioned(minio, bucket_at):
    s3 = bucket_at(minio)
    s3.client.put_bucket_versioning(Bucket=s3.bucket,
                                    VersioningConfiguration={"Status": "Enabled"})
    yield s3
    found = s3.client.list_object_versions(Bucket=s3.bucket)
    for v in found.get("Versions", []) + found.get("DeleteMarkers", []):
        s3.client.delete_object(Bucket=s3.bucket, Key=v["Key"], VersionId=v["VersionId"])


def test_what_a_version_id_names_is_read_after_it_was_replaced_elsewhere(mount, minio, versioned,
                                                                         variant, actor):
    m, reader = mount(via=minio.endpoint, s3=versioned, variant=variant), actor()
    data = content(3) * 12
    with Wrongs() as wrongs:
        for n, change in enumerate([lambda key: versioned.put(key, content(4)), versioned.delete]):
            versioned.put(f"p/d/{n}", data)
            fd = reader.open(m.path / f"d/{n}", os.O_RDONLY)
            assert reader.read(fd, 10) == data[:10]
            change(f"p/d/{n}")
            wrongs.expect(result_of(reader.read_to_end, fd), data[10:], n)
            reader.close(fd)


# -- 5. a new file's attributes are its own from the first moment


def attributes_of_all(top):
    return {p.name: (oct(p.stat().st_mode), p.stat().st_mtime_ns, p.stat().st_size)
            for p in pathlib.Path(top).iterdir()}


def test_new_files_show_their_mode_and_time_at_once(m, scratch, actor):
    here, source = m.path, scratch / "source"
    source.mkdir()
    for name, data in (("empty", b""), ("full", b"x"), ("empty.txt", b""), ("full.bin", b"y" * 9)):
        (source / name).write_bytes(data)
        (source / name).chmod(0o640)
        os.utime(source / name, ns=(0, 1_500_000_000_123_456_789))
    expected = attributes_of_all(source)
    a = actor()
    ways = {
        "cp -p": 'mkdir "$2"; cp -p "$1"/* "$2"',
        "cp -a": 'cp -a "$1" "$2"',
        "tar": 'mkdir "$2"; tar -C "$1" --format=posix -cf - . | tar -C "$2" -xpf -',
        "rsync": 'rsync -a "$1"/ "$2"/',
        "install": 'mkdir "$2"; install -p -m 640 "$1"/* "$2"',
    }
    with Wrongs() as wrongs:
        for way, script in ways.items():
            a.run(script, source, here / way)
            for _ in range(2):
                wrongs.expect(attributes_of_all(here / way), expected, way)
                a.run('ls -l "$1"', here / way)


def test_a_new_file_has_its_mode_whoever_asks(m, actor):
    a, b = actor(), actor()
    a.umask(0)
    with Wrongs() as wrongs:
        for n, (flags, data) in enumerate([(os.O_EXCL, b""), (0, b""), (os.O_EXCL, b"x"), (0, b"x"),
                                           (os.O_TRUNC, b"")]):
            f = m.path / f"f{n}"
            fd = a.open(f, os.O_WRONLY | os.O_CREAT | flags, 0o600)
            wrongs.expect(result_of(a.attributes, f)[0], 0o100600, n, "open, by name")
            b.list_long(m.path)
            wrongs.expect(result_of(a.attributes, f)[0], 0o100600, n, "open, after ls")
            a.write(fd, data)
            a.fchmod(fd, 0o640)
            a.utime(fd, (7, 7))
            wrongs.expect(a.attributes(fd)[0], 0o100640, n, "fstat")
            wrongs.expect(result_of(a.attributes, f)[0], 0o100640, n, "changed, by name")
            a.close(fd)
            for who in (a, b):
                got = result_of(who.attributes, f)
                wrongs.expect((got[0], got[2]), (0o100640, 7 * 10**9), n, who is a, "closed")


# -- 6. what S3 has is there


NAMES = ["f", "f.txt", "sub/f", "sub/f.bin", "a b%+Ü.txt"]
ASKS = {
    "read": lambda a, f: a.read_all(f),
    "cat": lambda a, f: a.run('cat "$1"', f).encode(),
    "stat": lambda a, f: a.size(f) * b"x",
    "exists": lambda a, f: TEXT if a.exists(f) else "absent",
    "access": lambda a, f: TEXT if a.access(f, os.R_OK) else "absent",
    "r+": lambda a, f: a.pread(a.open(f, os.O_RDWR), 2000, 0),
    "O_PATH": lambda a, f: a.size(a.open(f, os.O_PATH)) * b"x",
    "truncate": lambda a, f: (a.truncate(f, 1000), a.read_all(f))[1],
    "chmod": lambda a, f: (a.chmod(f, 0o600), a.read_all(f))[1],
    "rename": lambda a, f: (a.rename(f, f"{f}.new"), a.read_all(f"{f}.new"))[1],
    "getxattr": lambda a, f: (a.listxattr(f), TEXT)[1],
    "unlink": lambda a, f: (a.unlink(f), TEXT)[1],
}


@pytest.mark.parametrize("known", ["made", "listed", "listed long", "asked"])
def test_an_object_from_elsewhere_is_there_at_once(m, bucket, actor, known):
    a, b = actor(), actor()
    with Wrongs() as wrongs:
        for n, (ask, function) in enumerate(ASKS.items()):
            for name in NAMES:
                top, key = m.path / f"d{n}{NAMES.index(name)}", m.key(f"d{n}{NAMES.index(name)}")
                made_known("made" if known == "asked" else known, top, bucket, key, b)
                if "/" in name:
                    b.mkdir(top / "sub")
                    b.listdir(top / "sub") if known.startswith("listed") else None
                if known == "asked":
                    assert result_of(b.stat, top / name) == "FileNotFoundError"
                bucket.put(f"{key}/{name}", TEXT)
                wrongs.expect(result_of(function, a, str(top / name)), TEXT, ask, name)


def test_a_directory_from_elsewhere_is_there_at_once(m, bucket, actor):
    a = actor()
    with Wrongs() as wrongs:
        for n, ask in enumerate([lambda d: a.read_all(d + "/f.txt"), lambda d: a.listdir(d),
                                 lambda d: a.size(d + "/f.txt")]):
            a.mkdir(m.path / f"top{n}")
            a.listdir(m.path / f"top{n}")
            bucket.put(m.key(f"top{n}/new/below/f.txt"), TEXT)
            got = result_of(ask, str(m.path / f"top{n}/new/below"))
            wrongs.expect(got, [TEXT, ["f.txt"], 1000][n], n)


def test_what_is_gone_elsewhere_is_gone_here_at_once(m, bucket, actor):
    a = actor()
    with Wrongs() as wrongs:
        for known in ("listed", "read", "written", "stat"):
            for name in ("f", "f.txt"):
                f, key = m.path / known / name, m.key(f"{known}/{name}")
                bucket.put(m.key(f"{known}/neighbour"), b"n")
                bucket.put(key, TEXT)
                if known == "written":
                    a.write_all(f, TEXT)
                {"listed": lambda: a.listdir(f.parent), "read": lambda: a.read_all(f),
                 "written": lambda: None, "stat": lambda: a.size(f)}[known]()
                bucket.delete(key)
                wrongs.expect(result_of(a.read_all, f), "FileNotFoundError", known, name)
                bucket.put(key, b"again")
                wrongs.expect(result_of(a.read_all, f), b"again", known, name)


@pytest.mark.parametrize("ask", ["read", "stat", "r+", "append", "truncate", "rename"])
def test_a_writer_that_has_written_nothing_keeps_no_old_bytes(m, bucket, actor, ask):
    """Whose file is replaced elsewhere meanwhile: who opens it now finds what S3 has."""
    a, b = actor(), actor()
    f, key = str(m.path / "d/f"), m.key("d/f")
    bucket.put(key, b"old")
    fd = a.open(f, os.O_RDWR)
    bucket.put(key, TEXT)
    doings = {"read": lambda: b.read_all(f), "stat": lambda: b.size(f) * b"x",
              "r+": lambda: b.pread(b.open(f, os.O_RDWR), 2000, 0),
              "append": lambda: (b.write_all(f, b"y", os.O_APPEND), bucket.get(key))[1][:-1],
              "truncate": lambda: (b.truncate(f, 1001), bucket.get(key))[1][:-1],
              "rename": lambda: (b.rename(f, f + "2"), bucket.get(key + "2"))[1]}
    assert result_of(doings[ask]) == TEXT
    assert result_of(a.close, fd) is None
    assert bucket.get(key + "2" if ask == "rename" else key)[:1000] == TEXT


def test_what_is_written_here_is_seen_here_though_something_came_from_elsewhere(mount, bucket, actor):
    """Last write wins: at once, and by all, as it is one file; not only when it has been published."""
    m = mount(variant=LWW, env=TTL)
    a, b, c, f = actor(), actor(), actor(), m.path / "f.txt"
    bucket.put(m.key("f.txt"), b"first")
    fd = a.open(f, os.O_RDWR)
    bucket.put(m.key("f.txt"), b"theirs")
    assert b.read_all(f) == b"theirs"
    a.pwrite(fd, b"F", 0)
    assert b.read_all(f) == b"First" and b.size(f) == 5
    other = c.open(f, os.O_RDWR)
    c.pwrite(other, b"I", 1)
    assert a.pread(fd, 9, 0) == b"FIrst"
    a.close(fd)
    c.close(other)
    assert bucket.get(m.key("f.txt")) == b"FIrst" == b.read_all(f)
    m.check()


def test_creating_does_not_lose_what_came_from_elsewhere(m, bucket, actor, variant):
    """Creation in a directory that is known to be empty, where an object has come meanwhile: what is
    exclusive says EEXIST, at the open or at the close; who only wants it to be there changes nothing,
    and reads it; an append is behind what is there, or (compare-and-set) says EEXIST."""
    a = actor()
    with Wrongs() as wrongs:
        for known in ("made", "listed"):
            top, key = m.path / known, m.key(known)
            made_known(known, top, bucket, key, a)
            for name in ("excl", "append", "symlink", "flock", "read"):
                bucket.put(f"{key}/{name}", TEXT)
            fd = a.open(top / "read", os.O_RDWR | os.O_CREAT)
            wrongs.expect(a.pread(fd, len(TEXT), 0), TEXT, known, "read")
            a.close(fd)
            got = result_of(a.write_all, top / "excl", b"y", os.O_EXCL)
            wrongs.expect(got, "FileExistsError", known, "excl")
            got = result_of(a.symlink, "x", top / "symlink")
            wrongs.expect(got, "FileExistsError", known, "symlink")
            result_of(a.flock, top / "flock")
            for name in ("excl", "symlink", "flock"):
                wrongs.expect(bucket.get(f"{key}/{name}"), TEXT, known, name, "on S3")
            got = result_of(a.write_all, top / "append", b"y", os.O_APPEND)
            there = bucket.get(f"{key}/append")
            refused = variant == CAS and got == "FileExistsError"
            wrongs.expect(there, TEXT if refused else TEXT + b"y", known, "append", got)


def test_a_caller_that_cannot_be_looked_at_asks(m, bucket, scratch):
    """In a pid namespace of its own. (It has a number here as well: test_pid_namespace.py has the other
    way round.)"""
    if subprocess.run(["unshare", "-pf", "true"], capture_output=True).returncode:
        pytest.skip("no pid namespaces")
    for n, command in enumerate(["cat", "stat", "test -e"]):
        top = m.path / f"d{n}"
        top.mkdir()
        os.listdir(top)
        bucket.put(m.key(f"d{n}/f"), TEXT)
        util.run(["unshare", "-pf", "sh", "-c", f"{command} {top}/f >/dev/null; "
                  f"echo $? >{scratch}/code; echo new >{top}/g"])
        assert (scratch / "code").read_text() == "0\n", command
        assert bucket.get(m.key(f"d{n}/g")) == b"new\n"


def test_who_only_names_files_below_an_open_directory_is_told_by_s3(m, bucket, actor):
    """He has not listed it, so no listing has told him anything."""
    bucket.put(m.key("d/f"), b"1")
    d = os.open(m.path / "d", os.O_RDONLY | os.O_DIRECTORY)
    try:
        for n in range(2, 6):
            assert os.stat("f", dir_fd=d).st_size == n - 1
            bucket.put(m.key("d/f"), b"1" * n)
    finally:
        os.close(d)


def test_who_has_listed_and_closed_is_told_by_s3(mount, variant, bucket):
    """Though the kernel has not told of the close: it does so later, and not as long as a child has
    inherited the descriptor."""
    m = mount(variant=variant, env={"STATEPROXY_DIRECTORIES_TTL": "30s"})
    f, key = m.path / "d/f", m.key("d/f")
    bucket.put(key, b"1")
    d = os.open(m.path / "d", os.O_RDONLY | os.O_DIRECTORY)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[d]) as heir:
        try:
            assert os.listdir(d) == ["f"]
            bucket.put(key, b"12")
            assert os.stat(f).st_size == 1      # it has it open, and is told by its listing
        finally:
            os.close(d)
        bucket.put(key, b"123")
        assert os.stat(f).st_size == 3
        bucket.delete(key)
        assert not os.path.exists(f)
        heir.stdin.close()


AFTERWARDS = {
    "unlink": (lambda m: os.unlink(m.path / "f"), None),
    "rename": (lambda m: os.rename(m.path / "f", m.path / "g"), None),
    "replace": (lambda m: os.rename(m.path / "h", m.path / "f"), b"h"),
}


@pytest.mark.quiet("company reads the old version, and the mount expects that then")
@pytest.mark.parametrize("what", AFTERWARDS)
@pytest.mark.parametrize("written", ["before", "after"])
def test_a_writer_of_what_was_replaced_elsewhere_brings_nothing_back(m, bucket, actor, what,
                                                                     written):
    """With last write wins he publishes over what came from elsewhere. But what was removed here
    since, or replaced, stays so."""
    a = actor()
    bucket.put(m.key("f"), TEXT)
    bucket.put(m.key("h"), b"h")
    fd = a.open(m.path / "f", os.O_RDWR)
    bucket.put(m.key("f"), b"from elsewhere")
    assert os.stat(m.path / "f").st_size == 14
    if written == "before":
        a.write(fd, b"new")
    AFTERWARDS[what][0](m)
    if written == "after":
        a.write(fd, b"new")
    result_of(a.close, fd)
    expected = AFTERWARDS[what][1]
    assert (bucket.get(m.key("f")) if bucket.exists(m.key("f")) else None) == expected
    m.check()


def test_who_writes_over_what_came_from_elsewhere_is_seen_again(mount, bucket, actor):
    m, a, b = mount(variant=LWW, env=TTL), actor(), actor()
    bucket.put(m.key("f"), TEXT)
    fd = a.open(m.path / "f", os.O_RDWR)
    bucket.put(m.key("f"), b"from elsewhere")
    assert b.read_all(m.path / "f") == b"from elsewhere"
    a.write(fd, b"new")
    a.fsync(fd)
    assert b.read_all(m.path / "f") == b"new" + TEXT[3:]
    a.write(fd, b"er")
    assert b.read_all(m.path / "f") == b"newer" + TEXT[5:]
    b.unlink(m.path / "f")
    a.write(fd, b"!")
    a.close(fd)
    assert not bucket.exists(m.key("f"))
    m.check()


# -- 7. requests: see also test_requests.py, test_request_table.py


@pytest.fixture
def counted(mount, variant, proxy):
    """counted(function, ...) -> its requests, as a list of operations."""
    m = mount(via=proxy, variant=variant, env={"STATEPROXY_DIRECTORIES_TTL": "300ms"})

    def run(function, *args):
        proxy.reset_counts()
        function(*args)
        return [e.op for e in proxy.log()]
    return m, run


def later():
    """Beyond directories.ttl. What is waited for is nothing but that."""
    time.sleep(0.45)


def test_reading_and_changing_a_known_file(counted, bucket, actor, variant):
    (m, count), a = counted, actor()
    bucket.put(m.key("d/f.txt"), TEXT)
    f = m.path / "d/f.txt"
    a.read_all(f)
    assert count(a.read_all, f) == ["GetObject"]

    def change():
        a.write_all(f, a.read_all(f) + b"y")
    for _ in range(3):
        assert_cheap(count(change), variant)
    later()
    assert count(a.read_all, f) == ["GetObject"]
    later()
    assert_cheap(count(change), variant)


def assert_cheap(requests, variant):
    """Who overwrites with compare-and-set has just read; else the write may be preceded by one
    question, which brings no content."""
    assert requests[0] == "GetObject" and requests[-1] == "PutObject"
    assert requests[1:-1] in ([], *([["HeadObject"]] if variant == LWW else []))


def test_a_sibling_in_the_third_directory_is_one_get(counted, bucket, actor):
    (m, count), a = counted, actor()
    for name in ("marker/", "marker/b/", "marker/b/c/"):
        bucket.put(m.key(name))
    with Wrongs() as wrongs:
        for top in ("marker", "plain"):
            for i in range(5):
                bucket.put(m.key(f"{top}/b/c/f{i}.txt"), TEXT)
            a.read_all(m.path / f"{top}/b/c/f0.txt")
            got = count(a.read_all, m.path / f"{top}/b/c/f1.txt")
            wrongs.expect(got, ["GetObject"], top, "at once")
            for i in (2, 3):
                later()
                got = count(a.read_all, m.path / f"{top}/b/c/f{i}.txt")
                wrongs.expect(got, ["GetObject"], top, "later")
                got = count(a.write_all, m.path / f"{top}/b/c/new{i}.txt", b"new")
                wrongs.expect(got.count("PutObject"), 1, top, "create", got)


def test_after_a_rest_a_sibling_is_four_requests_at_most(mount, variant, proxy, bucket, actor):
    m = mount(via=proxy, variant=variant,
              env={"STATEPROXY_DIRECTORIES_TTL": "50ms", "STATEPROXY_DIRECTORIES_ENTRY_TTL": "100ms"})
    a = actor()
    for i in range(3):
        bucket.put(m.key(f"a/b/c/f{i}.txt"), TEXT)
    a.read_all(m.path / "a/b/c/f0.txt")
    for i in (1, 2):
        time.sleep(0.25)
        proxy.reset_counts()
        a.read_all(m.path / f"a/b/c/f{i}.txt")
        got = [e.op for e in proxy.log()]
        assert len(got) <= 4, got


def test_a_stat_takes_no_content(counted, bucket, actor):
    (m, count), a = counted, actor()
    bucket.put(m.key("d/f.txt"), TEXT)
    assert count(a.size, m.path / "d/f.txt")[-1] == "HeadObject"
    bucket.put(m.key("d/g.txt"), TEXT)
    assert count(a.size, m.path / "d/g.txt") == ["HeadObject"]


def test_what_is_emptied_is_not_fetched(counted, bucket, actor):
    (m, count), a = counted, actor()
    for name in ("f.txt", "g.txt"):
        bucket.put(m.key(f"d/{name}"), TEXT)
    a.size(m.path / "d/f.txt")
    got = count(a.write_all, m.path / "d/g.txt", b"new")
    assert "GetObject" not in got and got[-1] == "PutObject" and len(got) <= 2


@pytest.mark.quiet("counts what is asked")
def test_creating_in_a_known_directory_is_one_put(counted, bucket, actor):
    (m, count), a = counted, actor()
    a.mkdir(m.path / "made")
    bucket.put(m.key("listed/neighbour"), b"n")
    a.listdir(m.path / "listed")
    with Wrongs() as wrongs:
        for top in ("made", "listed"):
            got = count(a.write_all, m.path / top / "f.txt", b"new")
            wrongs.expect(got, ["PutObject"], top, "write")
            got = count(a.mkdir, m.path / top / "sub")
            wrongs.expect(got, ["PutObject"], top, "mkdir")
            got = count(a.symlink, "target", m.path / top / "link")
            wrongs.expect(got, ["PutObject"], top, "symlink")


# -- 8. each process has a session of its own


def one_round(writers, readers, path, bucket, key, n):
    """Two open at once, while others read: both see what is published, one publishes. -> what is
    wrong, or None"""
    old = f"{n:06} old".encode()
    bucket.put(key, old)
    for r in readers:
        r.begin("read_all", path)
    for w in writers:
        w.begin("open", path, os.O_RDWR)
    fds = [result_of(w.end) for w in writers]
    for r in readers:
        result_of(r.end)
    if any(isinstance(fd, str) for fd in fds):
        return f"round {n}: open: {fds}"
    writers[0].pwrite(fds[0], b"%06d A" % n, 0)
    seen = writers[1].pread(fds[1], 100, 0)
    writers[1].pwrite(fds[1], b"%06d B" % n, 0)
    seen = [writers[0].pread(fds[0], 100, 0), seen]
    closed = [result_of(w.close, fd) for w, fd in zip(writers, fds)]
    there = bucket.get(key)
    if seen != [b"%06d Ald" % n, old] or closed != [None, "FileExistsError"] or \
            there != b"%06d Ald" % n:
        return f"round {n}: saw {seen}, closes {closed}, on S3 {there}"
    return None


def test_two_that_open_at_once_do_not_share(mount, bucket, actor):
    m = mount(variant=CAS)
    writers, readers = [actor(), actor()], [actor(), actor()]
    wrong = []
    for n in range(60):
        writers.reverse()
        wrong.append(one_round(writers, readers, m.path / f"f{n}.txt", bucket,
                               m.key(f"f{n}.txt"), n))
    wrong = [w for w in wrong if w]
    assert not wrong, f"{len(wrong)} of 60 rounds\n" + "\n".join(wrong[:5])
    m.check()


# -- 9. the death of one writer


@pytest.mark.parametrize("other", ["another", "a child", "its parent"])
def test_the_death_of_one_writer_publishes_nothing_of_it(mount, bucket, actor, other):
    """While others have the file open; what they publish is decided by their own close."""
    m = mount(variant=LWW)
    with Wrongs() as wrongs:
        for n, (flags, b_writes) in enumerate([(os.O_RDWR, True), (os.O_RDWR, False),
                                               (os.O_RDWR | os.O_TRUNC, True)]):
            f, key = m.path / f"f{n}", m.key(f"f{n}")
            bucket.put(key, b"0" * 20)
            first = actor()
            if other == "another":
                a, b = first, actor()
            else:
                a, b = (first.child(), first) if other == "its parent" else (first, first.child())
            fds = [a.open(f, flags), b.open(f, os.O_RDWR)]
            a.pwrite(fds[0], b"AAAA", 0)
            if b_writes:
                b.pwrite(fds[1], b"BBBB", 8)
            before = m.log()
            a.kill()
            util.wait_until(lambda: handles_of(m) == 1, what="the dead one's release")
            wrongs.expect(bucket.get(key), b"0" * 20, other, n, "after the death")
            b.pwrite(fds[1], b"CC", 18)
            wrongs.expect(result_of(b.close, fds[1]), None, other, n, "close")
            there = bucket.get(key)
            wrongs.expect(there[18:], b"CC", other, n, "published by the other", there)
            wrongs.expect(len(m.log()) >= len(before), True, "the log")
            b.stop() if b is not first else None


def handles_of(m):
    return m.status()["tables"]["handles"]


def test_the_death_of_all_writers_publishes_nothing(mount, variant, bucket, actor):
    m = mount(variant=variant)
    bucket.put(m.key("f"), TEXT)
    actors = [actor(), actor()]
    for a in actors:
        fd = a.open(m.path / "f", os.O_RDWR)
        a.pwrite(fd, b"half", 0)
    for a in actors:
        a.kill()
    util.wait_until(lambda: handles_of(m) == 0, what="the releases")
    assert bucket.get(m.key("f")) == TEXT
    assert (m.path / "f").read_bytes() == TEXT


def test_killed_writers_that_share_a_file_tear_nothing(mount, variant, bucket, actor):
    """Each version that is on S3 is one that a close has answered, or was going to."""
    m = mount(variant=variant)
    code = ("import os, sys\nwhile True:\n fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)\n"
            " os.ftruncate(fd, 0)\n"
            " for part in range(4): os.write(fd, sys.argv[2].encode() * 1000)\n"
            " try: os.close(fd)\n except FileExistsError: pass")
    for n in range(12):
        key = m.key(f"f{n}")
        bucket.put(key, b"0" * 4000)
        writers = [util.spawn([*PYTHON, "-c", code, m.path / f"f{n}", who]) for who in "ab"]
        util.wait_until(lambda: bucket.get(key)[:1] != b"0", what="the first write")
        for w in writers:
            os.killpg(w.pid, signal.SIGKILL)
            w.communicate()
        util.wait_until(lambda: handles_of(m) == 0, what="the releases")
        there = bucket.get(key)
        if variant == CAS:
            assert there in (b"a" * 4000, b"b" * 4000), (n, len(there), set(there))
        assert (m.path / f"f{n}").read_bytes() == there


# -- what the company and the random operations found besides


def test_a_moved_directory_and_a_new_one_are_two(m, scratch):
    """What is below a directory that was renamed is no other file's double: cp, diff, find and du go by
    the inode number, and locks do."""
    here = m.path
    for name in ("x", "x/y", "x/x", "x/x/x"):
        (here / name).mkdir()
    (here / "x/f").write_bytes(b"old")
    util.run(["mv", here / "x", here / "z"])
    for name in ("x", "x/y"):
        (here / name).mkdir()
    (here / "x/f").write_bytes(b"new")
    found = util.run(["find", here, "-printf", "%i %P\n"]).out.split("\n")[:-1]
    assert len(found) == 9 and len({line.split()[0] for line in found}) == 9, found
    for name in ("x/x", "x"):
        (here / "z" / name).rmdir()
    assert util.run(["diff", here / "x/f", here / "z/f"], check=False).code == 1
    with open(here / "x/f", "r+b") as a, open(here / "z/f", "r+b") as b:
        fcntl.flock(a, fcntl.LOCK_EX)
        fcntl.flock(b, fcntl.LOCK_EX | fcntl.LOCK_NB)
    util.run(["cp", here / "x/f", here / "z/f"])
    assert (here / "z/f").read_bytes() == b"new"
    util.run(["mv", here / "x", here / "z/y/x"])
    found = util.run(["find", here, "-mindepth", "1", "-printf", "%P\n"]).out.split()
    assert sorted(found) == ["z", "z/f", "z/y", "z/y/x", "z/y/x/f", "z/y/x/y"]


@pytest.mark.parametrize("change", ["truncate", "append", "rewrite", "chmod"])
def test_what_was_changed_by_name_is_changed_again(m, actor, change):
    """One after another, by path, of a file that this process has just written."""
    a, f = actor(), m.path / "f.bin"
    a.write_all(f, TEXT)
    a.size(f)
    {"truncate": lambda: a.truncate(f, 5000), "chmod": lambda: a.chmod(f, 0o600),
     "append": lambda: a.write_all(f, b"y", os.O_APPEND),
     "rewrite": lambda: a.write_all(f, b"y")}[change]()
    a.setxattr(f, "user.color", b"red")
    a.utime(f, (7, 7))
    assert a.getxattr(f, "user.color") == b"red"
    assert a.attributes(f)[2] == 7 * 10**9
