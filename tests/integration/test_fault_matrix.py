"""Every S3 request of the mount x every fault: what the application gets, in one table.

A cell is one operation of a program, of which one kind of S3 request meets the fault: once (it has to heal,
unseen but for counters), and for good (the program gets the error of the table, what is on S3 is old or
new, whole, and what succeeded is there). All operations of a fault run at the same time on one mount, each
in a directory of its own.
"""

import errno
import os
import pathlib
import re
import socket
import threading
import urllib.parse

import pytest

from harness import SLOW, util
from harness.pattern import pattern

DEADLINES = {"STATEPROXY_S3_ATTEMPT_TIMEOUT": f"{int(400 * SLOW)}ms",
             "STATEPROXY_S3_CONNECT_TIMEOUT": f"{int(400 * SLOW)}ms",
             "STATEPROXY_S3_DEADLINE": f"{int(1600 * SLOW)}ms"}
OLD, NEW, BIG = pattern(1000, 1), pattern(300_000, 2), pattern(700_000, 3)


# -- what a program does, and which request of it meets the fault


class Work:
    """setup: {name: content} in its directory. act(dir) -> what was read, or None. done(objects) is whether the
    effect is on S3, undone(objects) whether nothing has happened. tags: those that its objects have, and keep. always:
    the error that the program gets whatever the fault is, since `also`, {request: error's name}, fails for good."""

    def __init__(self, name, op, setup, act, done=None, undone=None, skip=0, tags=None, also=None, always=()):
        self.name, self.op, self.setup, self.act, self.skip = name, op, setup, act, skip
        self.done, self.undone = done, undone
        self.tags, self.also, self.always = tags, also or {}, set(always)

    @property
    def changes(self):
        return self.done is not None


def reads(name, content):
    def act(d):
        if (d / name).read_bytes() != content:
            raise AssertionError("wrong bytes")
    return act


def stats(d):
    if os.stat(d / "f.txt").st_size != len(OLD):
        raise AssertionError("wrong size")


def lists(d):
    if sorted(os.listdir(d)) != ["f.txt", "sub"]:
        raise AssertionError("wrong names")


def appends(d):
    with open(d / "f.txt", "ab") as f:
        f.write(NEW)


def makes_alone(d):
    os.close(os.open(d / "f.txt", os.O_CREAT | os.O_EXCL | os.O_WRONLY))


F = {"f.txt": OLD}
WORKS = [
    Work("open", "GetObject", F, reads("f.txt", OLD)),
    Work("read", "GetObject", {"f.bin": BIG}, reads("f.bin", BIG), skip=1),
    Work("stat", "HeadObject", F, stats),
    Work("list", "ListObjectsV2", {**F, "sub/x.txt": OLD}, lists),
    Work("create", "PutObject", {}, lambda d: util.write_and_close(d / "f.txt", NEW),
         lambda o: o == {"f.txt": NEW}, lambda o: o == {}),
    Work("replace", "PutObject", F, lambda d: util.write_and_close(d / "f.txt", NEW),
         lambda o: o == {"f.txt": NEW}, lambda o: o == F),
    Work("unlink", "DeleteObject", F, lambda d: os.unlink(d / "f.txt"),
         lambda o: o == {}, lambda o: o == F),
    Work("rename", "CopyObject", F, lambda d: os.rename(d / "f.txt", d / "g.txt"),
         lambda o: o == {"g.txt": OLD}, lambda o: o == F or o == {**F, "g.txt": OLD}),
    Work("rename-end", "DeleteObject", F, lambda d: os.rename(d / "f.txt", d / "g.txt"),
         lambda o: o == {"g.txt": OLD}, lambda o: o == F or o == {**F, "g.txt": OLD}),
    Work("mkdir", "PutObject", {}, lambda d: os.mkdir(d / "sub"),
         lambda o: o == {"sub/": b""}, lambda o: o == {}),
    Work("rmdir", "DeleteObject", {"sub/": b""}, lambda d: os.rmdir(d / "sub"),
         lambda o: o == {}, lambda o: o == {"sub/": b""}),
    Work("chmod", "CopyObject", F, lambda d: os.chmod(d / "f.txt", 0o600),
         lambda o: o == F, lambda o: o == F),
    Work("tags", "GetObjectTagging", F, appends, lambda o: o == {"f.txt": OLD + NEW}, lambda o: o == F,
         tags={"team": "blue"}),
]
READS = {w.name for w in WORKS if not w.changes}

# The same with what goes in parts; each of 5 MiB and a little.
PARTS = {"STATEPROXY_UPLOAD_MULTIPART_THRESHOLD": "5Mi", "STATEPROXY_UPLOAD_PART_SIZE": "5Mi",
         "STATEPROXY_UPLOAD_COPY_LIMIT": "5Mi", "STATEPROXY_UPLOAD_EARLY": "false",
         **{k: f"{int(ms * SLOW)}ms" for k, ms in (("STATEPROXY_S3_ATTEMPT_TIMEOUT", 800),
                                                   ("STATEPROXY_S3_CONNECT_TIMEOUT", 800),
                                                   ("STATEPROXY_S3_DEADLINE", 3200))}}
LARGE = pattern((5 << 20) + 200_000, 4)
L = {"f.txt": LARGE}


def in_parts(name, op):
    if name == "abort":         # (of an upload whose parts are refused; nobody waits for it)
        return Work(name, op, F, lambda d: util.write_and_close(d / "f.txt", LARGE), lambda o: o == L,
                    lambda o: o == F, also={"UploadPart": "AccessDenied"}, always=["EACCES"])
    if name.startswith("copy"):
        return Work(name, op, L, lambda d: os.rename(d / "f.txt", d / "g.txt"),
                    lambda o: o == {"g.txt": LARGE}, lambda o: o == L or o == {**L, "g.txt": LARGE})
    return Work(name, op, F, lambda d: util.write_and_close(d / "f.txt", LARGE), lambda o: o == L, lambda o: o == F)


WORKS_IN_PARTS = [in_parts(n, op) for n, op in (
    ("begin", "CreateMultipartUpload"), ("part", "UploadPart"), ("end", "CompleteMultipartUpload"),
    ("copy-part", "UploadPartCopy"), ("copy-end", "CompleteMultipartUpload"), ("abort", "AbortMultipartUpload"))]

# The same with compare-and-set: what may have taken effect is found out, or it is EIO; it is never EEXIST.
WORKS_CAS = [
    *(w for w in WORKS if w.name in {"open", "create", "replace", "unlink", "mkdir", "rmdir", "chmod", "tags"}),
    Work("append", "PutObject", F, appends, lambda o: o == {"f.txt": OLD + NEW}, lambda o: o == F),
    Work("excl", "PutObject", {}, makes_alone, lambda o: o == {"f.txt": b""}, lambda o: o == {}),
    Work("rename", ["PutObject", "CopyObject"], F, lambda d: os.rename(d / "f.txt", d / "g.txt"),
         lambda o: o == {"g.txt": OLD}, lambda o: o == F or o == {**F, "g.txt": OLD}),
    Work("rename-end", "DeleteObject", F, lambda d: os.rename(d / "f.txt", d / "g.txt"),
         lambda o: o == {"g.txt": OLD}, lambda o: o == F or o == {**F, "g.txt": OLD}),
]

# The same with s3-passthrough: a stream, in parts as soon as it is longer than one. What it is appended to is copied.
def in_stream(name, op):
    if name.startswith("append-"):
        return Work(name, op, L, appends, lambda o: o == {"f.txt": LARGE + NEW}, lambda o: o == L)
    return in_parts(name, op)


WORKS_STREAM = [
    *(w for w in WORKS if w.name in {"open", "create", "replace", "tags"}),
    Work("append", "PutObject", F, appends, lambda o: o == {"f.txt": OLD + NEW}, lambda o: o == F),
    *(in_stream(n, op) for n, op in (
        ("begin", "CreateMultipartUpload"), ("part", "UploadPart"), ("end", "CompleteMultipartUpload"),
        ("append-copy", "UploadPartCopy"), ("append-end", "CompleteMultipartUpload"),
        ("abort", "AbortMultipartUpload")))]
GETS, NO_BODY = {"open", "read"}, {"stat", "create", "replace", "mkdir", "unlink", "rename-end", "rmdir"}


# -- the faults


class Fault:
    """for_good: errors of which a program gets one. once: the same where the fault happens once; empty: it heals.
    acted: the server did what was asked, so that a change may turn out to be done. without: works that it
    cannot happen to, or to which it says something else. ok: it is no fault. heals: works that are asked for in
    another way, and so succeed where it happens once."""

    def __init__(self, action, args, for_good, once=(), acted=False, without=(), ok=False, only=None,
                 heals=()):
        self.action, self.args = action, args
        self.for_good, self.once = set(for_good), set(once)
        self.acted, self.ok, self.heals = acted, ok, set(heals)
        self.without, self.only = without, only
        self.works = [w for w in WORKS if self.happens_to(w.name)]

    def happens_to(self, name):
        return name not in self.without and (self.only is None or name in self.only)


def answers(status, *errors, **more):
    args = {k: more.pop(k) for k in ("code", "headers", "body", "acted", "retry_after") if k in more}
    return Fault("answer", {"status": status, **args}, errors, acted=args.get("acted", False), **more)


def mangles(how, *errors, **more):
    return Fault("mangle", {"how": how}, errors, acted=True, **more)


ELSEWHERE = "http://127.0.0.1:{port}/elsewhere"
PAGE = "<html><body>nothing here</body></html>"
FAULTS = {
    "reset before": Fault("reset", {}, ["ECONNRESET"]),
    "reset after": Fault("reset", {"when": "after"}, ["ECONNRESET"], acted=True),
    "reset in the request": Fault("cut_request", {}, ["ECONNRESET"], only={"replace", "create"}),
    "reset in the head": mangles("cut_head", "ECONNRESET"),
    "reset in the body": Fault("cut_response", {"reset": True}, ["ECONNRESET"], acted=True,
                               without=NO_BODY),
    "closed": Fault("drop", {}, ["ECONNRESET"], acted=True),
    "closed in the body": Fault("cut_response", {}, ["ECONNRESET"], acted=True, without=NO_BODY),
    "stalled": Fault("hold", {"name": "stalled"}, ["ETIMEDOUT"]),
    "stalled in the head": mangles("stall_head", "ETIMEDOUT"),
    "stalled in the body": mangles("stall_body", "ETIMEDOUT", without=NO_BODY),
    "a byte now and then": mangles("drip", "ETIMEDOUT"),
    "100 and nothing more": mangles("continue", "ETIMEDOUT"),
    "100, 100, 100, 103": mangles("continues", ok=True),
    "500": answers(500, "EIO"),
    "500 after it was done": answers(500, "EIO", acted=True),
    "502": answers(502, "ECONNRESET", body=PAGE),
    "503 SlowDown": answers(503, "ETIMEDOUT"),
    "503 without a word": answers(503, "ETIMEDOUT", body=""),
    "503 with Retry-After": answers(503, "ETIMEDOUT", retry_after=1),
    "504": answers(504, "ETIMEDOUT", body=PAGE),
    "429": answers(429, "ETIMEDOUT"),
    # (A change without a condition is asked for again with one: the bucket may demand that.)
    # Tags that may not be read are left behind: test_objects.py.
    "403": answers(403, "EACCES", once=["EACCES"], heals={"rename", "mkdir", "rmdir", "chmod", "copy-end"},
                   without={"tags"}),
    "404 of a gateway": answers(404, "EIO", body=PAGE, without={"stat"}),
    "404 NoSuchKey": answers(404, "EIO", code="NoSuchKey", only={"list", "create", "mkdir"}),
    "301": answers(301, "EIO", code="PermanentRedirect", headers={"Location": ELSEWHERE},
                   once=["EIO"]),
    "307": answers(307, "EIO", code="TemporaryRedirect", headers={"Location": ELSEWHERE}),
    "307 without a word": answers(307, "EIO", body="", headers={"Location": ELSEWHERE}),
    "truncated": mangles("truncate", "EIO", without=NO_BODY),
    "a web page": mangles("html", "EIO"),
    "Content-Length too long": mangles("longer", "ECONNRESET", "EIO", without={"stat"}),
    "Content-Length too short": mangles("shorter", "EIO", without=NO_BODY),
    # of a part of an object only TLS tells
    "a bit is another": mangles("flip", "EIO", without=NO_BODY | {"read"}),
    "headers twice": mangles("double", ok=True),
    "headers that contradict": mangles("conflict", "EIO", "ECONNRESET", without={"rmdir"}),
}


# Of the answer to UploadPart only the head counts.
HEAD_ONLY = {n: {"part"} for n in ("reset in the body", "closed in the body", "stalled in the body",
                                   "truncated", "Content-Length too short", "a bit is another")}
NOT_IN_PARTS = {**HEAD_ONLY, "reset in the request": {"begin", "end", "copy-part", "copy-end"},
                "404 NoSuchKey": {"copy-part"}}     # (it says that the source is gone)
# Parts take their time: each day those that may end in another way than with one request.
PARTS_MEET = list(FAULTS) if os.environ.get("STATEPROXY_TEST_FULL") else [
    "reset before", "reset after", "closed", "stalled", "500 after it was done", "503 SlowDown", "403", "404 NoSuchKey",
    "truncated", "a web page", "Content-Length too long", "a bit is another"]


CAS_MEET = list(FAULTS) if os.environ.get("STATEPROXY_TEST_FULL") else [
    "reset after", "closed", "stalled", "500 after it was done", "503 SlowDown", "403", "a web page"]
LIKE = {"append": "replace", "excl": "mkdir", "rename": "replace"}      # (the requests are)

STREAMS_MEET = list(FAULTS) if os.environ.get("STATEPROXY_TEST_FULL") else [
    "reset after", "stalled", "500 after it was done", "403"]
LIKE_PARTS = {"append-copy": "copy-part", "append-end": "end", **{w.name: w.name for w in WORKS_IN_PARTS}}


# -- a run


class Cell:
    """One work, and what it came to."""

    def __init__(self, m, work, phase):
        self.work, self.name = work, f"{phase}-{work.name}"
        self.prefix = m.key(self.name) + "/"
        self.path = m.path / self.name
        self.error = self.trouble = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def set_up(self, bucket):
        tags = {"Tagging": urllib.parse.urlencode(self.work.tags)} if self.work.tags else {}
        bucket.put(self.prefix)
        for name, data in self.work.setup.items():
            bucket.put(self.prefix + name, data, **tags)

    def _run(self):
        try:
            self.work.act(self.path)
        except OSError as e:
            self.error = errno.errorcode[e.errno]
        except Exception as e:              # told by the test
            self.trouble = repr(e)

    def objects(self, bucket):
        return {k[len(self.prefix):]: bucket.get(k) for k in bucket.list(self.prefix)
                if k != self.prefix}

    def has_tags(self, bucket):
        told = bucket.client.get_object_tagging(Bucket=bucket.bucket, Key=self.prefix + "f.txt")["TagSet"]
        return {t["Key"]: t["Value"] for t in told} == self.work.tags

    def judge(self, fault, allowed, bucket):
        """What is wrong, or None."""
        allowed = self.work.always or allowed
        if self.trouble:
            return self.trouble
        if self.error and self.error not in allowed:
            return f"{self.error}, not one of {sorted(allowed) or 'none'}"
        work = self.work
        if not work.changes:        # (of a read that failed once the kernel asks again)
            healed = work.name == "read" and fault.once == allowed
            return None if self.error or not allowed or healed else "it succeeded"
        objects = self.objects(bucket)
        if work.tags and not self.has_tags(bucket):
            return "tags are lost"
        if not self.error:
            if not work.done(objects):
                return f"false success: {sorted(objects)}"
            return None if not allowed or fault.acted or work.name in fault.heals else "it succeeded"
        return None if work.done(objects) or work.undone(objects) else f"torn: {sorted(objects)}"


def run_cells(m, proxy, bucket, fault, phase, times, allowed, works=None):
    cells = [Cell(m, w, phase) for w in (fault.works if works is None else works)]
    for c in cells:
        c.set_up(bucket)
    for c in cells:
        os.listdir(c.path)                  # known, so that only the work's own requests are met
        proxy.add_rule(fault.action, op=c.work.op, key=c.prefix + "*", skip=c.work.skip,
                       times=times, **fault.args)
        for op, code in c.work.also.items():
            proxy.add_rule("answer", op=op, key=c.prefix + "*", status=403, code=code)
    for c in cells:
        c.thread.start()
    for c in cells:
        c.thread.join(40 * SLOW)
        assert not c.thread.is_alive(), f"{c.name} hangs"
    if any(c.work.always for c in cells):
        util.wait_until(lambda: all(r["applied"] for r in proxy.state().rules), 10, "requests that nobody waits for")
    unmet = [r["key"] for r in proxy.state().rules if not r["applied"]]
    held = proxy.state().held
    proxy.clear_rules() if not held else proxy.release("stalled", "drop")
    proxy.clear_rules()
    wrong = {c.name: c.judge(fault, allowed, bucket) for c in cells}
    wrong = {n: w for n, w in wrong.items() if w}
    assert not wrong, f"{wrong}\n{m.log()[-4000:]}"
    assert not unmet, f"no request met the fault: {unmet}"
    return cells


def lines_about(m, cell):
    """But for what becomes of data whose upload failed, and repetitions: of a read that failed the kernel asks
    again, page by page."""
    found, seen = [], set()
    for line in m.log().splitlines():
        if f"/{cell.name}/" not in line or " debug " in line or "data discarded" in line:
            continue
        if "reading from S3 failed" not in line or not seen:
            found.append(line)
            seen.add("read")
    return found


@pytest.mark.limit(90)
@pytest.mark.parametrize("name", list(FAULTS)[::1 if SLOW == 1 else 3])
def test_each_request_meets(mount, proxy, bucket, name):
    fault = FAULTS[name]
    other = socket.create_server(("127.0.0.1", 0))
    other.setblocking(False)
    if "headers" in fault.args:
        fault.args = {**fault.args,
                      "headers": {"Location": ELSEWHERE.format(port=other.getsockname()[1])}}
    m = mount(via=proxy, env={**DEADLINES, "STATEPROXY_DIRECTORIES_TTL": "0s"})
    healed = run_cells(m, proxy, bucket, fault, "once", 1, fault.once)
    if not fault.once:
        told = [x for c in healed for x in lines_about(m, c)]
        assert not told and not m.errors(), "what was healed is not told"
        # (curl itself sends again what meets a connection that has ended)
        assert fault.ok or m.status()["counters"]["s3_retries"] > 0
    cells = run_cells(m, proxy, bucket, fault, "ever", None, fault.for_good)
    for c in cells:
        assert len(lines_about(m, c)) <= 1, f"told more than once: {lines_about(m, c)}"
    for c in cells:                         # as on S3, and alive
        assert tree(c.path) == {n: d for n, d in c.objects(bucket).items() if not n.endswith("/")}
    with pytest.raises(BlockingIOError):
        other.accept()                      # nobody follows a server to another host
    other.close()
    m.check()


def tree(path):
    return {str(p.relative_to(path)): p.read_bytes()
            for p in sorted(pathlib.Path(path).rglob("*")) if p.is_file()}


@pytest.mark.repeats
@pytest.mark.limit(120)
@pytest.mark.parametrize("name", PARTS_MEET)
def test_each_request_of_parts_meets(mount, proxy, bucket, name):
    fault = FAULTS[name]
    works = [w for w in WORKS_IN_PARTS if w.name not in NOT_IN_PARTS.get(name, ())]
    m = mount(via=proxy, env=PARTS)
    healed = run_cells(m, proxy, bucket, fault, "once", 1, fault.once, works)
    if not fault.once:
        assert not [x for c in healed if not c.work.always for x in lines_about(m, c)], "what was healed is not told"
    run_cells(m, proxy, bucket, fault, "ever", None, fault.for_good, works)
    m.check()


@pytest.mark.repeats
@pytest.mark.limit(120)
@pytest.mark.parametrize("name", STREAMS_MEET)
def test_each_request_of_streams_meets(mount, proxy, bucket, name):
    fault = FAULTS[name]

    def meets(w):
        if w.name in LIKE_PARTS:
            return LIKE_PARTS[w.name] not in NOT_IN_PARTS.get(name, ())
        return fault.happens_to(LIKE.get(w.name, w.name))
    works = [w for w in WORKS_STREAM if meets(w)]
    m = mount(via=proxy, variant="s3-passthrough", env=PARTS)
    healed = run_cells(m, proxy, bucket, fault, "once", 1, fault.once, works)
    if not fault.once:
        assert not [x for c in healed if not c.work.always for x in lines_about(m, c)], "what was healed is not told"
    cells = run_cells(m, proxy, bucket, fault, "ever", None, fault.for_good, works)
    for c in cells:                         # (a part is told of, and then the upload)
        assert len(lines_about(m, c)) <= 1 or c.work.name in LIKE_PARTS, lines_about(m, c)
        assert tree(c.path) == {n: d for n, d in c.objects(bucket).items() if not n.endswith("/")}
    m.check()


@pytest.mark.limit(90)
@pytest.mark.parametrize("name", CAS_MEET)
def test_each_request_of_compare_and_set_meets(mount, proxy, bucket, name):
    fault = FAULTS[name]
    works = [w for w in WORKS_CAS if fault.happens_to(LIKE.get(w.name, w.name))]
    m = mount(via=proxy, variant="s3-buffered-cas", env={**DEADLINES, "STATEPROXY_DIRECTORIES_TTL": "0s"})
    healed = run_cells(m, proxy, bucket, fault, "once", 1, fault.once, works)
    if not fault.once:
        told = [x for c in healed for x in lines_about(m, c)]
        assert not told and not m.errors(), "what was healed is not told"
    cells = run_cells(m, proxy, bucket, fault, "ever", None, fault.for_good and fault.for_good | {"EIO"}, works)
    for c in cells:
        assert len(lines_about(m, c)) <= 1, f"told more than once: {lines_about(m, c)}"
        assert tree(c.path) == {n: d for n, d in c.objects(bucket).items() if not n.endswith("/")}
    assert m.status()["counters"]["conflicts"] == 0, "no false conflict"
    m.check()


def prepared(m, bucket, root=""):
    cells = [Cell(m, w, "away") for w in WORKS]
    for c in cells:
        c.path = pathlib.Path(root + str(c.path))
        c.set_up(bucket)
        os.listdir(c.path)
    return cells


def run_refused(cells):
    for c in cells:
        c.thread.start()
    for c in cells:
        c.thread.join(40 * SLOW)
        assert not c.thread.is_alive(), f"{c.name} hangs"


def judge_refused(m, bucket, cells):
    assert {c.name: c.error for c in cells} == {c.name: "ECONNREFUSED" for c in cells}
    wrong = {c.name: c.judge(Fault("", {}, []), {"ECONNREFUSED"}, bucket) for c in cells}
    assert not any(wrong.values()), wrong
    for c in cells:                         # (the kernel looks a name up again that it knew)
        assert len(lines_about(m, c)) <= 2
        assert tree(c.path) == {n: d for n, d in c.objects(bucket).items() if not n.endswith("/")}
    m.check()


@pytest.mark.limit(60)
def test_nobody_is_there(mount, proxy, bucket):
    """Refused: no connection, for any of them."""
    m = mount(via=proxy, env={**DEADLINES, "STATEPROXY_DIRECTORIES_TTL": "0s"})
    cells = prepared(m, bucket)
    proxy.block()
    run_refused(cells)
    proxy.unblock()
    judge_refused(m, bucket, cells)


@pytest.mark.limit(60)
def test_the_name_is_not_known(mount, proxy, bucket, scratch):
    """The server's name cannot be resolved any more, for workers that have not done so yet; and then it can. (In a
    mount namespace with /etc/hosts of its own, and no name server.)"""
    hosts, resolver = scratch / "hosts", scratch / "resolv.conf"
    hosts.write_text("127.0.0.1 s3.test\n")
    resolver.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    m = mount(via=f"http://s3.test:{proxy.port}", start=False,
              env={**DEADLINES, "STATEPROXY_DIRECTORIES_TTL": "0s", "STATEPROXY_S3_ADDRESSING": "path"})
    m.wrap = lambda *command: ("unshare", "--mount", "sh", "-ec", f"mount --bind {hosts} /etc/hosts; mount --bind "
                               f"{resolver} /etc/resolv.conf; exec \"$@\"", "sh", *command)
    m.start()
    cells = prepared(m, bucket, f"/proc/{m.proc.pid}/root")
    hosts.write_text("127.0.0.1 localhost\n")
    m.kill_workers()
    run_refused(cells)
    hosts.write_text("127.0.0.1 s3.test\n")
    assert "resolve" in m.log()
    judge_refused(m, bucket, cells)
