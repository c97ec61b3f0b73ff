#!/usr/bin/env python3
"""Company: looks at a mount, reads in it, and touches locks in it, all the time, and changes nothing.

    noise.py TOP --seed N [--strict] [--writers] [--own DIR] [--s3 ENDPOINT BUCKET PREFIX]

    lister      scandir and stat, ls -l, find, stat
    reader      open, read, hold, read on; mmap; cat
    toucher     flock(2) of files that are there; with --writers through descriptors that could write;
                with --own by flock(1), which creates, of files in DIR, which is nobody else's

Each is a process of its own, and rests now and then: shortly, or for longer than a listing is kept.
Nothing is opened with O_CREAT but in DIR, as it could bring back what has just been removed.

Ends with standard input. Then prints {"counts": {...}, "problems": [...]}. A problem is an error that
nobody may get: not that a name has gone, unless S3 has had it all the time (--s3), and not ESTALE
while a name changes hands, unless twice. --strict: nothing changes files but this mount, so no read
may fail.
"""

import argparse
import collections
import errno
import fcntl
import json
import mmap
import os
import random
import select
import signal
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness.raw_s3 import Raw      # noqa: E402

GONE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)
UNMOUNTED = (errno.ENOTCONN, errno.ECONNABORTED, errno.ENODEV)
BUSY = (errno.ETXTBSY, errno.EAGAIN, errno.EINTR)
READ_MAX = 1 << 20
NAMES_MAX = 200
SURE_SECONDS = 0.4          # a name that S3 has for so long must be there
LIST_SECONDS = 1.6          # and for so long in a listing: directories.ttl, and a bit
PROGRAM_SECONDS = 60


class Stop(BaseException):
    pass


class Unmounted(Exception):
    pass


def stop(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stop


class Company:
    def __init__(self, args, number):
        self.args, self.random = args, random.Random(args.seed * 10 + number)
        self.device = os.stat(args.top).st_dev
        self.names = collections.deque([args.top], NAMES_MAX)
        self.counts, self.problems = collections.Counter(), []
        self.kept = []              # descriptors
        self.s3 = None

    # -- what went wrong

    def problem(self, what, path, how):
        self.problems.append(f"{what} {path!r}: {how}")

    def judge(self, what, path, e, retry):
        """An error of `what` on path. retry: the same once more."""
        self.counts[errno.errorcode[e.errno]] += 1
        if e.errno in UNMOUNTED:
            raise Unmounted
        if e.errno in GONE:
            self.judge_gone(what, path)
        elif e.errno == errno.ESTALE and retry:
            try:
                retry()
            except OSError as again:
                if again.errno == errno.ESTALE:
                    self.problem(what, path, "ESTALE twice")
        elif e.errno not in BUSY:
            self.problem(what, path, errno.errorcode[e.errno])

    def judge_gone(self, what, path):
        """S3 has it, one and the same object all the time, and it is not there all the time."""
        before = self.on_s3(path)
        if not before:
            return
        deadline = time.monotonic() + SURE_SECONDS
        while time.monotonic() < deadline:
            if os.path.lexists(path):
                return
            time.sleep(0.02)
        if self.on_s3(path) == before and not os.path.lexists(path):
            self.problem(what, path, f"not there, but on S3: {before}")

    # -- S3's view

    def key(self, path):
        prefix = self.args.s3[2]
        name = os.path.relpath(path, self.args.top)
        name = "" if name == "." else name
        return "/".join(x for x in (prefix, name) if x)

    def ask_s3(self, function, *args):
        """None where the server is not to be asked."""
        if not self.args.s3:
            return None
        try:
            self.s3 = self.s3 or Raw(*self.args.s3[:2])
            return getattr(self.s3, function)(*args)
        except (OSError, AssertionError, ValueError, UnicodeError):
            self.s3 = None
            return None

    def on_s3(self, path):
        return self.ask_s3("state", self.key(path))

    # -- the lister

    def some_directory(self):
        found = [n for n in self.names if os.path.isdir(n) and not os.path.islink(n)]
        return self.random.choice(found or [self.args.top])

    def look(self, top):
        """As ls -l: names, and what they are."""
        with os.scandir(top) as entries:
            for entry in entries:
                self.names.append(entry.path)
                try:
                    entry.stat(follow_symlinks=False)
                except OSError as e:
                    self.judge("stat", entry.path, e, lambda: os.lstat(entry.path))

    def compare_with_s3(self, top):
        """Every file that S3 has had for long is in the listing."""
        prefix = self.key(top)
        prefix = prefix and prefix + "/"
        there = self.ask_s3("files", prefix)
        if not there:
            return
        time.sleep(LIST_SECONDS)
        missing = {prefix + n for n in there} - {prefix + n for n in os.listdir(top)}
        now = missing and (self.ask_s3("files", prefix) or {})
        missing = {key for key in missing if now.get(key[len(prefix):]) == there[key[len(prefix):]]}
        missing -= {prefix + n for n in os.listdir(top)} if missing else set()
        if missing:
            self.problem("list", top, f"without {sorted(missing)[:5]}, which S3 has all the time")

    def list_something(self):
        top, r = self.some_directory(), self.random.random()
        try:
            if r < 0.55:
                self.look(top)
            elif r < 0.65:
                os.listdir(top)
            elif r < 0.85:
                os.lstat(self.random.choice(self.names))
            elif r < 0.88:
                self.compare_with_s3(top)
            else:
                self.program(self.random.choice((
                    ["ls", "-l", top], ["find", top, "-maxdepth", "3"],
                    ["stat", self.random.choice(self.names)])))
        except OSError as e:
            self.judge("list", e.filename or top, e, lambda: os.listdir(top))

    def program(self, command):
        """What programs say of vanished names is no problem; what else they say is."""
        proc = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True, env={**os.environ, "LC_ALL": "C"})
        try:
            _, told = proc.communicate(timeout=PROGRAM_SECONDS)
        finally:
            if proc.poll() is None:
                proc.kill()
        for line in told.splitlines():
            if any(os.strerror(e) in line for e in UNMOUNTED):
                raise Unmounted
            # (A symbolic link that has become a file since its lstat is no link to readlink.)
            replaced = "cannot read symbolic link" in line and os.strerror(errno.EINVAL) in line
            if not replaced and not any(os.strerror(e) in line for e in (*GONE, *BUSY, errno.ESTALE)):
                self.problem(command[0], command[1:], line)

    # -- the reader

    def some_file(self):
        """A regular file that was there just now, and its attributes; or None."""
        for _ in range(4):
            path = self.random.choice(self.names)
            try:
                st = os.lstat(path)
            except OSError as e:
                self.judge("stat", path, e, lambda: os.lstat(path))
                continue
            if stat.S_ISREG(st.st_mode):
                return path, st
        self.look(self.some_directory())
        return None

    def open(self, path, flags):
        """None where it has gone."""
        try:
            return os.open(path, flags | os.O_NOFOLLOW)
        except OSError as e:
            self.judge("open", path, e, lambda: os.close(os.open(path, flags)))
            return None

    def read_something(self):
        found = self.some_file()
        fd = found and self.open(found[0], os.O_RDONLY)
        if fd is None:
            return
        self.kept.append(fd)
        try:
            r = self.random.random()
            if r < 0.15:
                self.program(["cat", found[0]])
            elif r < 0.35:
                self.read_mapped(fd)
            else:
                self.read_on(fd)
        except OSError as e:
            if e.errno in UNMOUNTED:
                raise Unmounted from None
            self.counts[errno.errorcode[e.errno]] += 1
            if self.args.strict or e.errno != errno.ESTALE:
                self.problem("read", found[0], errno.errorcode[e.errno])
        finally:
            self.kept.remove(fd)
            os.close(fd)

    def read_on(self, fd):
        size = self.random.choice((10, 5000, READ_MAX))
        os.read(fd, size)
        if self.random.random() < 0.5:
            time.sleep(self.random.uniform(0, 0.1))
            os.pread(fd, READ_MAX, size)

    def read_mapped(self, fd):
        """In a child, which a truncation by others may kill, as on any file system."""
        pid = os.fork()
        if pid == 0:
            try:
                with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as m:
                    bytes(m[:READ_MAX:4096])
            except ValueError:
                pass                    # empty
            os._exit(0)
        os.waitpid(pid, 0)

    # -- the toucher

    def touch_something(self):
        if self.args.own and self.random.random() < 0.3:
            os.makedirs(self.args.own, exist_ok=True)
            self.program(["flock", os.path.join(self.args.own, f"lock{self.random.randrange(3)}"),
                          "true"])
            return
        found = self.some_file()
        if not found:
            return
        path, st = found
        may_write = self.args.writers and not st.st_mode & 0o111 and self.random.random() < 0.4
        fd = self.open(path, os.O_RDWR if may_write else os.O_RDONLY)
        if fd is None:
            return
        self.kept.append(fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            time.sleep(self.random.choice((0, 0, 0.003)))
        except OSError as e:
            self.judge("flock", path, e, None)
        finally:
            self.kept.remove(fd)
            try:
                os.close(fd)
            except OSError as e:
                self.judge("close", path, e, None)

    # -- all of them

    def rest(self):
        r = self.random.random()
        time.sleep(self.random.uniform(0.001, 0.03) if r < 0.8 else
                   self.random.uniform(0.1, 0.4) if r < 0.97 else self.random.uniform(1.1, 1.6))

    def run(self, what):
        while True:
            self.counts[what.__name__] += 1
            try:
                if os.stat(self.args.top).st_dev != self.device:
                    return
                what()
            except OSError as e:
                self.judge(what.__name__, self.args.top, e, None)
            self.rest()


def child(args, number):
    """-> (pid, descriptor where its findings will be)"""
    reader, writer = os.pipe()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])      # until it is awaited
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    signal.signal(signal.SIGTERM, stop)
    company = None
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        company = Company(args, number)
        company.run((company.list_something, company.read_something,
                     company.touch_something)[number])
    except (Stop, Unmounted):
        pass
    except Exception as e:
        company.problem("noise", "", repr(e)) if company else None
    findings = (company.counts, company.problems[:20]) if company else ({}, [])
    os.write(writer, json.dumps(findings).encode())
    os._exit(0)


def end(pid):
    """True unless it had to be killed."""
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    for _ in range(1000):
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("top")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--writers", action="store_true")
    parser.add_argument("--own")
    parser.add_argument("--s3", nargs=3)
    args = parser.parse_args()
    for sig in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(sig, signal.SIG_IGN)
    children = [child(args, number) for number in range(3)]
    select.select([0], [], [])
    counts, problems = collections.Counter(), []
    for pid, reader in children:
        if not end(pid):
            problems.append("had to be killed: it was stuck")
        with os.fdopen(reader) as f:
            text = f.read()
        found = json.loads(text) if text else ({}, [])
        counts.update(found[0])
        problems += found[1]
    print(json.dumps({"counts": counts, "problems": problems}))


if __name__ == "__main__":
    main()
