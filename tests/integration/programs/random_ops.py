#!/usr/bin/env python3
"""Does the same random file operations in two directories, and compares what each of them gives.

    random_ops.py DIR REFERENCE [--seed N] [--ops N] [--every N]

REFERENCE is a directory of a local file system. Result, error and what was read have to be the
same; every N operations all files are closed, both trees are compared, "check" is printed and a line
is awaited on standard input. Every operation is told on stderr; the first difference ends it: exit 1.

What differs by design is not asked for, or is let pass (each is counted and printed at the end):
    ESTALE      reading, through a descriptor without write access, a file that has lost its name
Hard links, times of directories, holes, and st_blocks are not compared.
"""

import argparse
import collections
import ctypes
import errno
import mmap
import os
import random
import stat
import sys
import time

from waited import until_waited_for

ATTRIBUTES = ("user.a", "user.b", "user.Ü c")
NAMES = ("a", "b.txt", "c", "d.bin", "Ü x+%.txt")
FLAGS = (os.O_CREAT, os.O_CREAT, os.O_CREAT | os.O_EXCL, os.O_TRUNC, os.O_CREAT | os.O_TRUNC, 0, 0,
         os.O_APPEND, os.O_CREAT | os.O_APPEND)
OLD = 1_200_000_000 * 10**9     # before it: a time that utime set
RENAME_NOREPLACE = 1
KEEP_SIZE, PUNCH_HOLE = 1, 3
MOUNT, REFERENCE = 0, 1
STALE = ("error", errno.ESTALE)

libc = ctypes.CDLL(None, use_errno=True)


def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def renameat2(old, new, flags):
    checked(libc.renameat2(-100, os.fsencode(old), -100, os.fsencode(new), flags))


def fallocate(fd, mode, pos, size):
    checked(libc.fallocate(fd, mode, ctypes.c_long(pos), ctypes.c_long(size)))


class Wrong(Exception):
    pass


class File:
    """One open file on each side."""

    def __init__(self, name, fds, access, flags):
        self.name, self.fds, self.access, self.flags = name, fds, access, flags

    @property
    def reads(self):
        return self.access != os.O_WRONLY

    @property
    def writes(self):
        return self.access != os.O_RDONLY


class Twins:
    def __init__(self, roots, seed, max_size, max_open=8):
        self.roots = roots
        self.random = random.Random(seed)
        self.max_size, self.max_open = max_size, max_open
        self.files = []
        self.counts = collections.Counter()
        self.allowed = collections.Counter()
        self.began = time.time() - 5
        self.names = None           # ([files], [directories]) of the reference, None: look again
        self.doing = ""
        self.n = 0

    # -- both sides

    def both(self, call, allow=lambda got: None):
        """call(side) on both; the same result or the same errno. allow(error on the mount) may
        name a documented difference. Returns ("ok", result) or ("error", errno)."""
        got = []
        for side in (MOUNT, REFERENCE):
            try:
                got.append(("ok", call(side)))
            except OSError as e:
                got.append(("error", e.errno))
        if got[MOUNT] != got[REFERENCE]:
            passed = allow(got[MOUNT])
            if not passed:
                raise Wrong(f"the mount gives {self.show(got[0])}, the reference "
                            f"{self.show(got[1])}{self.first_difference(got)}")
            self.allowed[passed] += 1
            return "allowed", passed
        return got[REFERENCE]

    @staticmethod
    def show(what):
        kind, value = what
        if kind == "error":
            return errno.errorcode.get(value, value)
        if isinstance(value, (bytes, bytearray)):
            return f"{len(value)} bytes {bytes(value[:12])!r}"
        return repr(value)[:500]

    @staticmethod
    def first_difference(got):
        a, b = (value for _, value in got)
        if not isinstance(a, bytes) or not isinstance(b, bytes):
            return ""
        at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
        return f", first difference at {at}: {a[at:at + 12]!r}, {b[at:at + 12]!r}"

    def paths(self, name):
        return [os.path.join(root, name) for root in self.roots]

    # -- names

    def look(self):
        if self.names is None:
            files, dirs = [], [""]
            for top, below, found in os.walk(self.roots[REFERENCE]):
                rel = os.path.relpath(top, self.roots[REFERENCE])
                rel = "" if rel == "." else rel + "/"
                dirs += sorted(rel + d for d in below)
                files += sorted(rel + f for f in found)
            self.names = files, dirs
        return self.names

    def any_name(self):
        """Perhaps of something that is there, perhaps not, perhaps below a file."""
        files, dirs = self.look()
        if files and self.random.random() < 0.1:
            top = self.random.choice(files)
        else:
            top = self.random.choice([d for d in dirs if d.count("/") < 2])
        return os.path.join(top, self.random.choice(NAMES))

    def file_name(self):
        files, _ = self.look()
        return self.random.choice(files) if files and self.random.random() < 0.85 \
            else self.any_name()

    def dir_name(self):
        _, dirs = self.look()
        return self.random.choice(dirs) if self.random.random() < 0.85 else self.any_name()

    # -- data

    def data(self):
        r = self.random.random()
        size = self.random.choice((1, 7, 100, 4096)) if r < 0.6 else \
            self.random.randrange(20_000) if r < 0.95 else self.random.randrange(200_000)
        return self.random.randbytes(size)

    def place(self, f):
        """Somewhere in the file, often at a border, sometimes beyond the end."""
        size = os.fstat(f.fds[REFERENCE]).st_size
        r = self.random.random()
        if r < 0.15:
            return 0
        if r < 0.3:
            return size
        if r < 0.4:
            return min(self.random.choice((4096, 65_536, 131_072)), self.max_size)
        return self.random.randrange(min(size + 5000, self.max_size) + 1)

    def some_file(self, writes=False, reads=False):
        found = [f for f in self.files if f.writes >= writes and f.reads >= reads]
        return self.random.choice(found) if found else None

    def may_be_stale(self, f):
        return lambda got: ("ESTALE" if got == STALE and not f.writes
                            and os.fstat(f.fds[REFERENCE]).st_nlink == 0 else None)

    # -- operations; each returns what it did, or None if there was nothing to do it with

    def op_open(self):
        if len(self.files) >= self.max_open:
            return self.op_close()
        name = self.file_name()
        access = self.random.choice((os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR))
        flags = self.random.choice(FLAGS)
        if access == os.O_RDONLY:
            flags &= ~(os.O_TRUNC | os.O_APPEND)
        mode = self.random.choice((0o644, 0o644, 0o600, 0o755))
        paths = self.paths(name)
        self.doing = f"open {name!r} access {access} flags {flags:#o} mode {mode:o}"
        how, fds = self.both(lambda side: Opened(os.open(paths[side], access | flags, mode)))
        if how == "ok" and stat.S_ISDIR(os.fstat(Opened.fds[REFERENCE]).st_mode):
            for fd in Opened.fds:
                os.close(fd)
        elif how == "ok":
            self.files.append(File(name, Opened.take(), access, flags))
            if flags & os.O_CREAT:
                self.names = None
        Opened.fds.clear()

    def op_dup(self):
        f = self.some_file()
        if f and len(self.files) < self.max_open:
            self.doing = f"dup {f.name!r}"
            self.files.append(File(f.name, [os.dup(fd) for fd in f.fds], f.access, f.flags))

    def op_close(self):
        f = self.some_file()
        if f:
            self.close(f)

    def close(self, f):
        self.doing = f"close {f.name!r}"
        self.files.remove(f)
        self.both(lambda side: os.close(f.fds[side]))

    def op_pwrite(self):
        f = self.some_file(writes=True)
        if f:
            data, pos = self.data(), self.place(f)
            self.doing = f"pwrite {f.name!r} {len(data)} at {pos}"
            self.both(lambda side: os.pwrite(f.fds[side], data, pos))

    def op_write(self):
        """At the descriptor's own place; with O_APPEND at the end."""
        f = self.some_file(writes=True)
        if f and os.fstat(f.fds[REFERENCE]).st_size < self.max_size:
            data = self.data()
            self.doing = f"write {f.name!r} {len(data)}"
            self.both(lambda side: os.write(f.fds[side], data))

    def op_writev(self):
        f = self.some_file(writes=True)
        if f:
            parts, pos = [self.data() for _ in range(3)], self.place(f)
            self.doing = f"pwritev {f.name!r} {[len(p) for p in parts]} at {pos}"
            self.both(lambda side: os.pwritev(f.fds[side], parts, pos))

    def op_write_refused(self):
        """Through a descriptor without write access."""
        f = self.some_file()
        if f and not f.writes:
            self.doing = f"pwrite {f.name!r}, read-only"
            self.both(lambda side: os.pwrite(f.fds[side], b"x", 0))

    def op_pread(self):
        f = self.some_file()
        if f:
            size, pos = self.random.choice((1, 4096, 50_000, 300_000)), self.place(f)
            self.doing = f"pread {f.name!r} {size} at {pos}"
            self.both(lambda side: pread_all(f.fds[side], size, pos), self.may_be_stale(f))

    def op_lseek(self):
        f = self.some_file()
        if f:
            pos = self.place(f)
            how = self.random.choice((os.SEEK_SET, os.SEEK_CUR, os.SEEK_END))
            if how != os.SEEK_SET:
                pos = self.random.choice((0, -1, -5000, 3000))
            self.doing = f"lseek {f.name!r} {pos} {how}"
            self.both(lambda side: os.lseek(f.fds[side], pos, how))

    def op_seek_data(self):
        """The mount knows no holes: all of a file is data."""
        f = self.some_file()
        if f:
            pos, size = self.place(f), os.fstat(f.fds[REFERENCE]).st_size
            self.doing = f"SEEK_DATA, SEEK_HOLE {f.name!r} {pos} of {size}"
            old = os.lseek(f.fds[MOUNT], 0, os.SEEK_CUR)
            for how, expected in ((os.SEEK_DATA, pos), (os.SEEK_HOLE, size)):
                try:
                    got = os.lseek(f.fds[MOUNT], pos, how)
                except OSError as e:
                    got = e.errno
                if got != (expected if pos < size else errno.ENXIO):
                    raise Wrong(f"gives {got}")
            os.lseek(f.fds[MOUNT], old, os.SEEK_SET)

    def op_ftruncate(self):
        f = self.some_file()
        if f:
            size = self.place(f)
            self.doing = f"ftruncate {f.name!r} {size}"
            self.both(lambda side: os.ftruncate(f.fds[side], size))

    def op_truncate(self):
        name, size = self.file_name(), self.random.randrange(self.max_size)
        if self.random.random() < 0.3:
            size = self.random.choice((0, 1, 4096))
        paths = self.paths(name)
        self.doing = f"truncate {name!r} {size}"
        self.both(lambda side: os.truncate(paths[side], size))

    def op_fallocate(self):
        f = self.some_file()
        if f:
            mode = self.random.choice((0, KEEP_SIZE, PUNCH_HOLE))
            pos, size = self.place(f), self.random.choice((1, 5000, 100_000))
            self.doing = f"fallocate {f.name!r} mode {mode} {size} at {pos}"
            st = os.fstat(f.fds[REFERENCE])
            self.both(lambda side: fallocate(f.fds[side], mode, pos, size))
            if (mode != PUNCH_HOLE or pos >= st.st_size) and \
                    os.fstat(f.fds[REFERENCE]).st_size == st.st_size:
                # Nothing has changed, but some file systems set the time all the same.
                os.utime(f.fds[REFERENCE], ns=(st.st_atime_ns, st.st_mtime_ns))

    def op_fsync(self):
        f = self.some_file()
        if f:
            call = self.random.choice((os.fsync, os.fdatasync))
            self.doing = f"{call.__name__} {f.name!r}"
            self.both(lambda side: call(f.fds[side]))

    def op_fstat(self):
        f = self.some_file()
        if f:
            self.doing = f"fstat {f.name!r}"
            self.both(lambda side: os.fstat(f.fds[side]).st_size)

    def op_mmap(self):
        """A shared mapping: read, and with write access changed, sometimes with msync."""
        f = self.some_file(reads=True)
        size = os.fstat(f.fds[REFERENCE]).st_size if f else 0
        if not size or os.fstat(f.fds[REFERENCE]).st_nlink == 0:    # SIGBUS where it is ESTALE
            return
        write = f.access == os.O_RDWR and self.random.random() < 0.7
        pos = self.random.randrange(size)
        data = self.data()[:size - pos]
        sync = self.random.random() < 0.5
        self.doing = f"mmap {f.name!r} {size}" + (
            f", {len(data)} bytes to {pos}{', msync' if sync else ''}" if write else "")

        def call(side):
            access = mmap.ACCESS_WRITE if write else mmap.ACCESS_READ
            with mmap.mmap(f.fds[side], size, access=access) as m:
                if write:
                    m[pos:pos + len(data)] = data
                    if sync:
                        m.flush()
                return m[:]
        self.both(call)

    @staticmethod
    def are_one(a, b):
        """One file, or two that have had one name; or one that was moved meanwhile."""
        return a.name == b.name or os.path.sameopenfile(a.fds[REFERENCE], b.fds[REFERENCE])

    def op_copy_file_range(self):
        source, f = self.some_file(reads=True), self.some_file(writes=True)
        if source and f and source.fds != f.fds and not f.flags & os.O_APPEND:
            size = self.random.choice((1, 4096, 30_000))
            pos, to = self.place(source), self.place(f)
            if self.are_one(source, f) or self.may_be_stale(source)(STALE):
                return      # ranges that may overlap; a copy that may not be had
            self.doing = f"copy_file_range {source.name!r} at {pos} to {f.name!r} at {to}: {size}"
            self.both(lambda side: os.copy_file_range(source.fds[side], f.fds[side], size, pos, to))

    def op_copy_whole(self):
        """As cp does, into a file that is emptied for it."""
        source, f = self.some_file(reads=True), self.some_file(writes=True)
        if not source or not f or f.flags & os.O_APPEND or self.are_one(source, f) or \
                self.may_be_stale(source)(STALE):
            return

        def call(side):
            os.ftruncate(f.fds[side], 0)
            done = 0
            while n := os.copy_file_range(source.fds[side], f.fds[side], 1 << 20, done, done):
                done += n
            return done
        self.doing = f"copy all of {source.name!r} to {f.name!r}"
        self.both(call)

    def op_read_file(self):
        """As cat does: open, read to the end, close."""
        name = self.file_name()
        paths = self.paths(name)
        self.doing = f"read all of {name!r}"
        self.both(lambda side: read_all(paths[side]))

    def op_write_file(self):
        """As an editor that writes in place does."""
        name, data = self.file_name(), self.data()
        paths = self.paths(name)
        self.doing = f"write all of {name!r}, {len(data)}"
        self.both(lambda side: write_all(paths[side], data, os.O_TRUNC))
        self.names = None

    def op_append_file(self):
        name, data = self.file_name(), self.data()
        paths = self.paths(name)
        self.doing = f"append to {name!r} {len(data)}"
        self.both(lambda side: write_all(paths[side], data, os.O_APPEND))
        self.names = None

    def op_child(self):
        """A child writes through a descriptor that it inherited, and ends."""
        f = self.some_file(writes=True)
        if f:
            data = self.data()
            self.doing = f"child writes {f.name!r} {len(data)}"
            self.both(lambda side: in_child(lambda: os.write(f.fds[side], data)))

    def op_stat(self):
        name = self.any_name() if self.random.random() < 0.5 else self.file_name()
        paths = self.paths(name)
        self.doing = f"stat {name!r}"

        def call(side):
            st = os.stat(paths[side])
            return stat.S_IFMT(st.st_mode), st.st_size if stat.S_ISREG(st.st_mode) else None
        if self.both(call)[0] == "ok":
            self.compare_attributes(name)

    def compare_attributes(self, name):
        a, b = (os.stat(p) for p in self.paths(name))
        if not stat.S_ISREG(b.st_mode):
            return
        if a.st_mode != b.st_mode:
            raise Wrong(f"{name!r}: mode {a.st_mode:o}, expected {b.st_mode:o}")
        if b.st_mtime_ns < OLD:
            if a.st_mtime_ns != b.st_mtime_ns:
                raise Wrong(f"{name!r}: mtime {a.st_mtime_ns}, expected {b.st_mtime_ns}")
        elif a.st_mtime < self.began:
            raise Wrong(f"{name!r}: mtime {a.st_mtime_ns}, changed at {b.st_mtime_ns}")

    def op_chmod(self):
        name, mode = self.file_name(), self.random.choice((0o644, 0o600, 0o755, 0o640))
        if os.path.isdir(self.paths(name)[REFERENCE]):
            return
        paths = self.paths(name)
        self.doing = f"chmod {name!r} {mode:o}"
        self.both(lambda side: os.chmod(paths[side], mode))

    def op_fchmod(self):
        f = self.some_file()
        if f:
            mode = self.random.choice((0o644, 0o600, 0o755))
            self.doing = f"fchmod {f.name!r} {mode:o}"
            self.both(lambda side: os.fchmod(f.fds[side], mode))

    def op_utime(self):
        name = self.file_name()
        if os.path.isdir(self.paths(name)[REFERENCE]):
            return
        paths = self.paths(name)
        ns = self.random.randrange(OLD)
        self.doing = f"utime {name!r} {ns}"
        self.both(lambda side: os.utime(paths[side], ns=(ns, ns)))

    def op_futime(self):
        f = self.some_file()
        if f:
            ns = self.random.randrange(OLD)
            self.doing = f"futime {f.name!r} {ns}"
            self.both(lambda side: os.utime(f.fds[side], ns=(ns, ns)))

    def op_access(self):
        paths = self.paths(self.any_name())
        self.doing = f"access {paths[MOUNT]!r}"
        self.both(lambda side: os.access(paths[side], os.R_OK | os.W_OK))

    def op_listdir(self):
        name = self.dir_name()
        paths = self.paths(name)
        self.doing = f"listdir {name!r}"

        def call(side):
            with os.scandir(paths[side]) as it:
                return sorted((e.name, e.is_dir(follow_symlinks=False)) for e in it)
        self.both(call)

    def op_mkdir(self):
        if len(self.look()[1]) > 12:
            return
        name = self.any_name()
        paths = self.paths(name)
        self.doing = f"mkdir {name!r}"
        self.both(lambda side: os.mkdir(paths[side]))
        self.names = None

    def op_rmdir(self):
        name = self.dir_name() or self.any_name()
        paths = self.paths(name)
        self.doing = f"rmdir {name!r}"
        self.both(lambda side: os.rmdir(paths[side]))
        self.names = None

    def op_unlink(self):
        name = self.file_name()
        paths = self.paths(name)
        self.doing = f"unlink {name!r}"
        self.both(lambda side: os.unlink(paths[side]))
        self.names = None

    def op_rename(self):
        files, dirs = self.look()
        r = self.random.random()
        if r < 0.25 and len(dirs) > 1:
            old = self.random.choice(dirs[1:])
        else:
            old = self.file_name()
        new = self.file_name() if r > 0.6 else self.any_name()
        flags = RENAME_NOREPLACE if self.random.random() < 0.2 else 0
        olds, news = self.paths(old), self.paths(new)
        self.doing = f"rename {old!r} {new!r} flags {flags}"
        self.both(lambda side: renameat2(olds[side], news[side], flags))
        self.names = None

    def op_save(self):
        """Safely, as editors do: a new file, fsync, rename over the old one."""
        name, data = self.file_name(), self.data()
        paths = self.paths(name)
        self.doing = f"save {name!r} {len(data)}"

        def call(side):
            fd = os.open(paths[side] + ".tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            try:
                os.write(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
            try:
                os.rename(paths[side] + ".tmp", paths[side])
            except OSError:
                os.unlink(paths[side] + ".tmp")
                raise
        self.both(call)
        self.names = None

    def op_symlink(self):
        name = self.any_name()
        target = self.random.choice((*NAMES, "../" + self.random.choice(NAMES), "gone", "/".join(["x" * 200] * 4)))
        paths = self.paths(name)
        self.doing = f"symlink {target[:40]!r} {name!r}"
        self.both(lambda side: os.symlink(target, paths[side]))
        self.names = None

    def op_readlink(self):
        paths = self.paths(self.file_name())
        self.doing = f"readlink {paths[REFERENCE]!r}"
        self.both(lambda side: os.readlink(paths[side]))

    def op_lstat(self):
        paths = self.paths(self.file_name())
        self.doing = f"lstat {paths[REFERENCE]!r}"

        def call(side):
            st = os.lstat(paths[side])
            return stat.S_IFMT(st.st_mode), None if stat.S_ISDIR(st.st_mode) else st.st_size
        self.both(call)

    def attributed(self):
        """[what] on both sides: paths, or descriptors."""
        f = self.some_file() if self.random.random() < 0.4 else None
        if f and os.fstat(f.fds[REFERENCE]).st_nlink:
            return f.name, f.fds
        name = self.file_name() if self.random.random() < 0.8 else self.dir_name()
        return name, self.paths(name)

    def op_setxattr(self):
        name, on = self.attributed()
        if name == "":
            return
        attr, value = self.random.choice(ATTRIBUTES), self.random.randbytes(
            self.random.choice((0, 1, 20, 80)))
        flags = self.random.choice((0, 0, os.XATTR_CREATE, os.XATTR_REPLACE))
        self.doing = f"setxattr {name!r} {attr} {len(value)} bytes flags {flags}"
        self.both(lambda side: os.setxattr(on[side], attr, value, flags))

    def op_getxattr(self):
        name, on = self.attributed()
        attr = self.random.choice(ATTRIBUTES)
        self.doing = f"getxattr {name!r} {attr}"
        self.both(lambda side: os.getxattr(on[side], attr))

    def op_listxattr(self):
        name, on = self.attributed()
        self.doing = f"listxattr {name!r}"
        self.both(lambda side: sorted(os.listxattr(on[side])))

    def op_removexattr(self):
        name, on = self.attributed()
        attr = self.random.choice(ATTRIBUTES)
        self.doing = f"removexattr {name!r} {attr}"
        self.both(lambda side: os.removexattr(on[side], attr))

    def op_chmod_dir(self):
        name, mode = self.dir_name(), self.random.choice((0o755, 0o700, 0o711))
        if name == "" or not os.path.isdir(self.paths(name)[REFERENCE]):
            return
        paths = self.paths(name)
        self.doing = f"chmod {name!r} {mode:o}"
        self.both(lambda side: os.chmod(paths[side], mode))

    WEIGHTS = {
        "open": 16, "dup": 2, "close": 9, "pwrite": 10, "write": 6, "writev": 2, "write_refused": 1,
        "pread": 12, "lseek": 3, "seek_data": 1, "ftruncate": 4, "truncate": 3, "fallocate": 2,
        "fsync": 3, "fstat": 3, "mmap": 3, "copy_file_range": 1, "copy_whole": 2, "read_file": 8,
        "write_file": 5, "append_file": 3, "child": 1, "stat": 8, "chmod": 2, "fchmod": 1,
        "utime": 2, "futime": 1, "access": 1, "listdir": 5, "mkdir": 3, "rmdir": 2, "unlink": 4,
        "rename": 6, "save": 3, "symlink": 3, "readlink": 2, "lstat": 2, "setxattr": 4,
        "getxattr": 2, "listxattr": 2, "removexattr": 2, "chmod_dir": 1}

    # -- the run

    def step(self):
        self.n += 1
        kind = self.random.choices(list(self.WEIGHTS), list(self.WEIGHTS.values()))[0]
        self.doing = ""
        try:
            getattr(self, "op_" + kind)()
        finally:
            if self.doing:
                self.counts[kind] += 1
                sys.stderr.write(f"{self.n}: {self.doing}\n")

    def compare_trees(self):
        for f in list(self.files):
            self.close(f)
        self.names = None
        files, dirs = self.look()
        for name in dirs:
            self.doing = f"at the check, list {name!r}"
            paths = self.paths(name)
            self.both(lambda side: sorted(os.listdir(paths[side])))
            if name:
                self.both(lambda side: stat.S_IMODE(os.stat(paths[side]).st_mode))
                self.both(lambda side: attributes_of(paths[side]))
        for name in files:
            self.doing = f"at the check, {name!r}"
            paths = self.paths(name)
            if os.path.islink(paths[REFERENCE]):
                self.both(lambda side: os.readlink(paths[side]))
            if self.both(lambda side: read_all(paths[side]))[0] == "ok":
                self.both(lambda side: attributes_of(paths[side]))
                self.compare_attributes(name)


class Opened:
    """Makes two results of open() equal whatever the numbers are, and keeps them."""
    fds = []

    def __init__(self, fd):
        self.fds.append(fd)

    def __eq__(self, other):
        return True

    @classmethod
    def take(cls):
        return list(cls.fds)


def read_all(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while data := os.read(fd, 100_000):
            parts.append(data)
        return b"".join(parts)
    finally:
        os.close(fd)


def attributes_of(path):
    return {name: os.getxattr(path, name) for name in sorted(os.listxattr(path))}


def pread_all(fd, size, pos):
    """A read may give less than there is; what comes behind that is an error or the rest."""
    parts = []
    while size and (data := os.pread(fd, size, pos)):
        parts.append(data)
        size, pos = size - len(data), pos + len(data)
    return b"".join(parts)


def write_all(path, data, flags):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o644)
    try:
        return os.write(fd, data)
    finally:
        os.close(fd)


def in_child(call):
    """What call() gives in a child process: 0 or an errno."""
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            until_waited_for()
            call()
        except OSError as e:
            code = e.errno
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("dir")
    parser.add_argument("reference")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ops", type=int, default=1000)
    parser.add_argument("--every", type=int, default=500)
    parser.add_argument("--max-size", type=int, default=400_000)
    args = parser.parse_args()
    os.umask(0)
    twins = Twins([args.dir, args.reference], args.seed, args.max_size)
    try:
        while twins.n < args.ops:
            twins.step()
            if twins.n % args.every == 0 or twins.n == args.ops:
                twins.compare_trees()
                print("check", flush=True)
                if not sys.stdin.readline():
                    sys.exit(2)
    except (OSError, Wrong) as e:
        sys.stderr.write(f"seed {args.seed}, operation {twins.n}: {twins.doing}: {e}\n")
        if not isinstance(e, Wrong):
            raise
        sys.exit(1)
    print(f"seed {args.seed}: {dict(twins.counts)}; let pass: {dict(twins.allowed)}")


if __name__ == "__main__":
    main()
