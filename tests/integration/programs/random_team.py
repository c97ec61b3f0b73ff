#!/usr/bin/env python3
"""Several processes that take turns do random file operations in two directories, and each result is
compared: what random_ops.py does, by a team.

    random_team.py DIR REFERENCE [--seed N] [--ops N] [--every N] [--members N] [--isolated]

Members fork, go on as another program (exec), end, hand descriptors to each other, have children and
shells that work for them. Only one of them does something at a time.

--isolated: of the variant that compares and sets. Then each member, before it gives up its turn,
publishes what it has written; it opens what others, also its children, have changed before it writes over it; it leaves
alone what others have open for writing (its children what it has), and changes in place nothing that others read: all else
would be contention. What a reader has open it may see as it was when it was opened, whole, and longer
if the file has only grown; attributes of what has been changed or moved it leaves alone. And
directories are renamed by mv only, while nobody has a file open in them.
"""

import argparse
import collections
import errno
import os
import pickle
import random
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from multiprocessing.connection import Connection, wait

from random_ops import (MOUNT, NAMES, REFERENCE, File, Opened, Twins, Wrong, in_child, read_all,
                        write_all)

SLOTS = 6                   # members at most
TURN_MAX = 12               # operations
TURN_SECONDS = 120
LOOKS = {"read_file", "stat", "lstat", "access", "readlink", "listdir", "open_read", "show"}
REPLACES = {"unlink", "rename", "save", "child_unlink", "child_rename"}
CREATES = {"open", "write_file", "append_file", "save", "rename", "sh", "child_write",
           "child_rename"}
BY_CHILDREN = {"sh", "child", "child_write", "child_unlink", "child_rename"}
WAITED = {"child_unlink", "child_rename"}   # what they do is done by who waits for them
SED_NAME = re.compile(rb"sed[A-Za-z0-9]{6}")

# F and G are names; each is run by a shell that stays.
SCRIPTS = [
    'echo "$T" >"$F"', 'echo "$T" >>"$F"', 'cat "$F"', 'cat "$F" "$G" | wc -c', 'touch "$F"',
    'sed -i "s/[a-m]/x/" "$F"', 'sed -i.bak "1d" "$F"; rm -f "$F.bak"',
    'mv "$F" "$G"', 'mv --backup "$F" "$G"; rm -f "$G~"', 'mv -n "$F" "$G"', 'cp "$F" "$G"',
    'cp -p "$F" "$G"', 'cp --remove-destination "$F" "$G"', 'rm -f "$F"; echo "$T" >"$F"',
    'rm "$F"', 'truncate -s 100 "$F"', 'head -c 10 "$F" >"$G"', 'tee "$F" <"$G" | wc -c',
    'exec 3>>"$F"; echo "$T" >&3; (echo "$T" >&3); exec 3>&-; cat "$F"',
    'echo "$T" >"$F.new"; mv "$F.new" "$F"; cat "$F"', 'test -e "$F"; echo $?; test -s "$G"',
    'chmod 640 "$F"; stat -c %a "$F"', 'echo "$T" >"$F"; (cat "$F"; echo "$T" >>"$F"); cat "$F"',
    '(rm -f "$F"); echo "$T" >"$F"; (mv "$F" "$G"); echo "$T" >"$F"; cat "$F" "$G"',
    'dd if="$F" of="$G" bs=1000 count=3 conv=notrunc status=none', 'ln -sfn "$T" "$F"',
    'install -m 600 "$F" "$G"', 'set -C; echo "$T" >"$F"', 'sort -o "$F" "$F"',
]


class Described(File):
    """An open file that knows who opened it, and what its bytes were then."""

    def __init__(self, file, opener, content, changed=False):
        super().__init__(file.name, file.fds, file.access, file.flags)
        self.opener, self.content = opener, content
        self.changed = changed
        self.own = []       # what this process has made of it since, which it may show instead

    def key(self):
        return os.fstat(self.fds[REFERENCE]).st_ino


class Member(Twins):
    WEIGHTS = {**Twins.WEIGHTS, "open_read": 5, "sh": 12, "link": 2, "child_write": 3,
               "child_unlink": 2, "child_rename": 2, "show": 3}

    def __init__(self, roots, args, slot):
        super().__init__(roots, args.seed, args.max_size)
        self.args, self.slot = args, slot
        self.began = args.began         # by whichever program this member was then
        self.kind = ""
        self.held = {}          # inode -> {(opener, whether it can write)}, by others
        self.stale = set()      # names that others have changed since this one has read them

    # -- what is contention

    def really(self, name):
        """The names that an operation on this one may be about: links followed, or not the last. A
        link may lead out of the directory: "../a"."""
        top = os.path.realpath(self.roots[REFERENCE])
        path = os.path.join(top, name)
        found = [os.path.realpath(path), os.path.join(os.path.realpath(os.path.dirname(path)),
                                                      os.path.basename(path))]
        return {os.path.relpath(p, top) for p in found}

    def holders(self, inode):
        """(opener, whether it can write) of descriptors that are not of this process's own opens."""
        mine = {(f.opener, f.writes) for f in self.files if f.key() == inode}
        return self.held.get(inode, set()) | {h for h in mine if h[1] and h[0] != os.getpid()}

    def is_free(self, name):
        if not self.args.isolated or self.kind in LOOKS:
            return True
        try:
            inode = os.stat(self.paths(name)[REFERENCE]).st_ino
        except OSError:
            return True
        if self.kind in BY_CHILDREN - WAITED and \
                any((f.writes or f.flags & os.O_CREAT) and f.key() == inode for f in self.files):
            return False
        held = self.holders(inode)
        return not any(writes or self.kind not in REPLACES for _, writes in held)

    def free_name(self, draw):
        for _ in range(20):
            name = draw()
            if self.is_free(name):
                self.refresh(name)
                return name
        return "nothing/below/nothing"

    def file_name(self):
        return self.free_name(super().file_name)

    def any_name(self):
        return self.free_name(super().any_name)

    def some_file(self, writes=False, reads=False):
        found = [f for f in self.files if f.writes >= writes and f.reads >= reads]
        if self.args.isolated and writes:
            found = [f for f in found if self.is_alone(f)]
        return self.random.choice(found) if found else None

    def is_alone(self, f):
        """All who can write the file do it through one open of it, or opens of one process."""
        mine = {(g.opener, True) for g in self.files if g.writes and g.key() == f.key()}
        return all(opener == f.opener for opener, _ in self.held.get(f.key(), set()) | mine)

    def refresh(self, name):
        if self.args.isolated and self.kind not in LOOKS:
            for real in sorted(self.really(name) & self.stale):
                self.read_again(real)

    def read_again(self, name):
        """What others have changed is read before it is written over, or made, if it has gone."""
        doing, paths = self.doing, self.paths(name)
        self.tell(f"read again {name!r}")
        gone = self.both(lambda side: len(read_all(paths[side]))) == ("error", errno.ENOENT)
        if gone and self.kind in CREATES:
            self.tell(f"make {name!r}, which another has removed")
            self.both(lambda side: write_all(paths[side], b"", os.O_EXCL))
            self.names = None
        if not gone or self.kind in CREATES:
            self.stale.discard(name)
        self.doing = doing

    def tell(self, what):
        self.doing = what
        sys.stderr.write(f"  {self.slot}: {what}\n")

    # -- readers see the file, or what it was

    def as_it_was(self, f, view):
        """Allows what `view` makes of the bytes that were there when f was opened, as far as it is
        isolated. When these have only grown meanwhile, f may show that, from then on."""
        def allow(got):
            if not self.args.isolated or f.writes or f.content is None:
                return None
            whole = pread_whole(f.fds[MOUNT], 1 << 30, 0)
            if got != ("ok", view(whole)):
                return None
            if whole in f.own:
                how = "as this process has made it"
            elif whole.startswith(f.content):
                how = "as it was" if len(whole) == len(f.content) else "as it has grown"
            else:
                return None
            f.content, f.own = whole, []
            return how
        return allow

    def note_own(self):
        """A reader that was opened while this process had written something sees what it writes."""
        for f in self.files if self.args.isolated else ():
            if not f.writes and any(g.writes and g.key() == f.key() for g in self.files):
                now = pread_whole(f.fds[REFERENCE], 1 << 30, 0)
                if now != (f.own[-1] if f.own else f.content):
                    f.own.append(now)

    def op_pread(self):
        f = self.some_file()
        if f:
            size, pos = self.random.choice((1, 4096, 50_000, 300_000)), self.place(f)
            self.doing = f"pread {f.name!r} {size} at {pos}"
            old = self.as_it_was(f, lambda whole: whole[pos:pos + size])
            self.both(lambda side: pread_whole(f.fds[side], size, pos),
                      lambda got: old(got) or self.may_be_stale(f)(got))

    def op_fstat(self):
        f = self.some_file()
        if f:
            self.doing = f"fstat {f.name!r}"
            self.both(lambda side: os.fstat(f.fds[side]).st_size, self.as_it_was(f, len))

    def is_as_it_was(self, f):
        """What a reader has open is what has the name, as far as has been seen."""
        if f.content is not None and not f.writes and not f.changed:
            f.changed = pread_whole(f.fds[REFERENCE], 1 << 30, 0) != f.content
        return not f.changed

    def has_its_name(self, f):
        """Of what has been moved, a reader has what was there before."""
        try:
            return f.writes or os.stat(self.paths(f.name)[REFERENCE]).st_ino == f.key()
        except OSError:
            return False

    def of_the_present(self, op, attributes=False):
        """Whatever goes by the end of a file, copies from it, or is about its attributes, of files that
        are as they were."""
        files = self.files
        try:
            if self.args.isolated:
                self.files = [f for f in files if self.is_as_it_was(f) and
                              (not attributes or self.has_its_name(f))]
            before = list(self.files)
            return op()
        finally:
            if self.args.isolated:
                closed = [f for f in before if f not in self.files]
                added = [f for f in self.files if f not in before]
                self.files = [f for f in files if f not in closed] + added

    def attributed(self):
        return self.of_the_present(super().attributed, attributes=True)

    def op_fchmod(self):
        self.of_the_present(super().op_fchmod, attributes=True)

    def op_futime(self):
        self.of_the_present(super().op_futime, attributes=True)

    def op_lseek(self):
        self.of_the_present(super().op_lseek)

    def op_seek_data(self):
        self.of_the_present(super().op_seek_data)

    def op_mmap(self):
        """What a forked child changes through a mapping of what it has inherited is not published by
        its close, but by its fsync (documented)."""
        self.of_the_present(super().op_mmap)
        doing = self.doing
        self.publish(lambda f: f.opener != os.getpid())
        self.doing = doing

    def op_copy_file_range(self):
        self.of_the_present(super().op_copy_file_range)

    def op_copy_whole(self):
        self.of_the_present(super().op_copy_whole)

    # -- operations of a team

    def describe(self):
        """Of each file that was opened: by whom, and what was in it."""
        for i, f in enumerate(self.files):
            if not isinstance(f, Described):
                content = None if f.writes else pread_whole(f.fds[REFERENCE], 1 << 30, 0)
                self.files[i] = Described(f, os.getpid(), content)

    def op_dup(self):
        f = self.some_file()
        if f and len(self.files) < self.max_open:
            self.doing = f"dup {f.name!r}"
            again = File(f.name, [os.dup(fd) for fd in f.fds], f.access, f.flags)
            self.files.append(Described(again, f.opener, f.content, f.changed))

    def op_open_read(self):
        if len(self.files) < self.max_open:
            name = self.file_name()
            paths = self.paths(name)
            self.doing = f"open {name!r} to read"
            how, _ = self.both(lambda side: Opened(os.open(paths[side], os.O_RDONLY)))
            fds = Opened.take()
            Opened.fds.clear()
            if how == "ok" and stat.S_ISREG(os.fstat(fds[REFERENCE]).st_mode):
                self.files.append(File(name, fds, os.O_RDONLY, 0))
            else:
                for fd in fds:
                    os.close(fd)

    def op_rename(self):
        if not self.args.isolated and not self.args.files_only:
            return super().op_rename()
        files, _ = self.look()
        old = self.file_name()
        if old not in files:
            return None
        new = self.file_name() if self.random.random() < 0.5 else self.any_name()
        paths, targets = self.paths(old), self.paths(new)
        self.doing = f"rename {old!r} {new!r}"
        self.both(lambda side: os.rename(paths[side], targets[side]))
        self.names = None

    def of_child(self, what, call):
        self.publish()
        self.doing = f"child: {what}"
        self.both(lambda side: in_child(lambda: call(side)))
        self.names = None

    def op_child_write(self):
        name, data = self.file_name(), self.data()
        flags = self.random.choice((os.O_TRUNC, os.O_APPEND, os.O_EXCL))
        paths = self.paths(name)
        self.of_child(f"write {name!r} {len(data)} flags {flags:#o}",
                      lambda side: write_all(paths[side], data, flags))

    def op_child_unlink(self):
        name = self.file_name()
        paths = self.paths(name)
        self.of_child(f"unlink {name!r}", lambda side: os.unlink(paths[side]))

    def op_child_rename(self):
        old, new = self.file_name(), self.file_name()
        if os.path.isdir(self.paths(old)[REFERENCE]):
            return
        olds, news = self.paths(old), self.paths(new)
        self.of_child(f"rename {old!r} {new!r}", lambda side: os.rename(olds[side], news[side]))

    def op_sh(self):
        script = self.random.choice(SCRIPTS)
        f, g = self.file_name(), self.file_name()
        if any(os.path.isdir(self.paths(n)[REFERENCE]) for n in (f, g)):
            return
        if self.args.isolated and self.really(f) & self.really(g) and \
                script.startswith(("tee", "dd", "head")):
            return              # one process empties what another reads, which keeps it as it was
        self.publish()
        text = "".join(self.random.choices("abcdefghijklmnop", k=self.random.randrange(1, 40)))
        self.doing = f"sh: {script} with F={f!r} G={g!r} T={text!r}"

        def call(side):
            done = subprocess.run(["sh", "-c", script + "\nexit $?"], cwd=self.roots[side],
                                  env={**os.environ, "F": f, "G": g, "T": text, "LC_ALL": "C"},
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
            return done.returncode, done.stdout, SED_NAME.sub(b"sed", done.stderr)
        self.both(call)
        self.names = None

    def op_show(self):
        """ls -l by another program: names, types, sizes."""
        name = self.dir_name()
        if name and not os.path.isdir(self.paths(name)[REFERENCE]):
            return
        self.publish()
        self.doing = f"find {name!r}"
        command = ["find", ".", "-mindepth", "1", "-printf", "%P %y %m\n"]
        self.both(lambda side: sorted(subprocess.run(
            command, cwd=self.paths(name)[side], capture_output=True).stdout.splitlines()))

    def op_link(self):
        """Hard links are refused; what is an error anyway is the same one."""
        old, new = self.paths(self.file_name()), self.paths(self.file_name())
        if os.path.isdir(old[REFERENCE]):
            return
        self.doing = f"link {old[REFERENCE]!r} {new[REFERENCE]!r}"
        try:
            os.link(old[REFERENCE], new[REFERENCE], follow_symlinks=False)
            os.unlink(new[REFERENCE])
            expected = errno.EPERM
        except OSError as e:
            expected = e.errno
        try:
            os.link(old[MOUNT], new[MOUNT], follow_symlinks=False)
            raise Wrong("the mount has hard links")
        except OSError as e:
            if e.errno != expected:
                raise Wrong(f"gives {errno.errorcode[e.errno]}, "
                            f"expected {errno.errorcode[expected]}") from None

    # -- a turn

    def step(self):
        self.n += 1
        self.kind = self.random.choices(list(self.WEIGHTS), list(self.WEIGHTS.values()))[0]
        self.doing = ""
        before = self.args.isolated and self.kind in BY_CHILDREN and tree_of(self.roots[REFERENCE])
        try:
            getattr(self, "op_" + self.kind)()
            self.describe()
            self.note_own()
            if before:
                self.stale |= differing(before, tree_of(self.roots[REFERENCE]))
        finally:
            if self.doing:
                self.counts[self.kind] += 1
                sys.stderr.write(f"{self.slot}: {self.doing}\n")

    def turn(self, seed, held, stale):
        self.random = random.Random(seed)
        self.held, self.names = held, None
        self.stale |= stale
        for _ in range(self.random.randrange(1, TURN_MAX)):
            self.step()
        self.publish()

    def publish(self, which=lambda f: True):
        """Before others, or its children, have their turn."""
        for f in self.files if self.args.isolated else ():
            if which(f) and (f.writes or f.flags & os.O_CREAT):
                self.doing = f"fsync {f.name!r}"
                self.both(lambda side: os.fsync(f.fds[side]))

    def holds(self):
        found = collections.defaultdict(set)
        for f in self.files:
            found[f.key()].add((f.opener, f.writes))
        return dict(found)


def pread_whole(fd, size, pos):
    parts = []
    while size > 0 and (data := os.pread(fd, min(size, 1 << 20), pos)):
        parts.append(data)
        size, pos = size - len(data), pos + len(data)
    return b"".join(parts)


def tree_of(top):
    """{name: what changes with a file}; also of the files beside `top` that links make."""
    top = os.path.realpath(top)
    beside = [os.path.join(os.path.dirname(top), name) for name in NAMES]
    paths = [path for path in beside if os.path.isfile(path)]
    for at, below, files in os.walk(top):
        paths += [os.path.join(at, name) for name in below + files]
    tree = {}
    for path in paths:
        st = os.lstat(path)
        tree[os.path.relpath(path, top)] = st.st_ino, st.st_size, st.st_ctime_ns
    return tree


def differing(old, new):
    """Names that are of another file now, or of a changed one."""
    return {n for n in old.keys() | new.keys() if old.get(n) != new.get(n)}


class Slots:
    """A connection to be told by and a socket for descriptors, for as many members as there may be:
    made first, so that every member has them, whoever's child it is."""

    def __init__(self, numbers=None, leader=None):
        self.leader = leader or os.getpid()
        if numbers is None:
            numbers = []
            for _ in range(SLOTS):
                for pair in (socket.socketpair(), socket.socketpair()):
                    numbers += [s.detach() for s in pair]
            for fd in numbers:
                os.set_inheritable(fd, True)
        self.numbers = numbers

    def told(self, slot):
        return Connection(os.dup(self.numbers[slot * 4]))

    def teller(self, slot):
        return Connection(os.dup(self.numbers[slot * 4 + 1]))

    def give(self, slot, fds):
        with socket.socket(fileno=os.dup(self.numbers[slot * 4 + 2])) as s:
            socket.send_fds(s, [b"x"], fds)

    def take(self, slot):
        with socket.socket(fileno=os.dup(self.numbers[slot * 4 + 3])) as s:
            return socket.recv_fds(s, 1, 2)[1]


def serve(member, slots):
    """A member's life."""
    conn = slots.told(member.slot)
    while True:
        while not conn.poll(1):
            if not os.path.exists(f"/proc/{slots.leader}"):
                os._exit(3)
        what, *args = conn.recv()
        result = None
        if what == "turn":
            result = attempt(member, lambda: member.turn(*args))
        elif what == "close all":
            result = attempt(member, lambda: [member.close(f) for f in list(member.files)])
        elif what == "compare":
            result = attempt(member, member.compare_trees)
        elif what == "fork":
            slot, = args
            if os.fork() == 0:
                member.slot, conn = slot, slots.told(slot)
                member.counts, member.allowed = collections.Counter(), collections.Counter()
        elif what == "exec":
            go_on_as_another_program(member, slots)
        elif what == "hand":
            slot, n = args
            f = member.files[n % len(member.files)] if member.files else None
            if f:
                slots.give(slot, f.fds)
                result = f
        elif what == "take":
            f, = args
            f.fds = slots.take(member.slot)
            member.files.append(f)
        elif what == "end":
            sys.stderr.write(f"{member.slot}: ends\n")
            os._exit(0)
        conn.send(report(member, result))


def report(member, result=None):
    return (result, os.getpid(), member.holds(), len(member.files), member.n, member.counts,
            member.allowed)


def attempt(member, call):
    """What is wrong, or None."""
    try:
        call()
    except (OSError, Wrong) as e:
        return f"member {member.slot}, operation {member.n}: {member.doing}: {e!r}"
    return None


def go_on_as_another_program(member, slots):
    for f in member.files:
        for fd in f.fds:
            os.set_inheritable(fd, True)
    state = os.memfd_create("state", 0)
    with os.fdopen(os.dup(state), "wb") as out:
        pickle.dump((member.roots, member.args, member.slot, member.files, member.stale, member.n,
                     member.counts, member.allowed, slots.numbers, slots.leader), out)
    os.lseek(state, 0, os.SEEK_SET)
    os.execv(sys.executable, [sys.executable, "-B", __file__, "--resume", str(state)])


def resume(fd):
    with os.fdopen(fd, "rb") as state:
        roots, args, slot, files, stale, n, counts, allowed, numbers, leader = pickle.load(state)
    member = Member(roots, args, slot)
    member.files, member.stale, member.n = files, stale, n
    member.counts, member.allowed = counts, allowed
    slots = Slots(numbers, leader)
    slots.told(slot).send(report(member))
    serve(member, slots)


class Team:
    def __init__(self, args):
        self.args, self.random = args, random.Random(args.seed)
        self.slots = Slots()
        self.tellers = [self.slots.teller(slot) for slot in range(SLOTS)]
        self.pids, self.holds, self.opened, self.n, self.stale = {}, {}, {}, {}, {}     # by slot
        self.allowed = {}           # pid -> (operations, what was let pass)
        self.ops = 0
        self.tree = {}
        self.begin_member(0)

    def begin_member(self, slot):
        """The first; all others are forked by members."""
        pid = os.fork()
        if pid == 0:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 0), os.dup2(null, 1)
            serve(Member([self.args.dir, self.args.reference], self.args, slot), self.slots)
        self.pids[slot], self.holds[slot], self.opened[slot] = pid, {}, 0
        self.n[slot], self.stale[slot] = 0, set()

    def joins(self, slot, parent):
        self.n[slot], self.stale[slot] = self.n[parent], set(self.stale[parent])
        self.answer(slot)

    def alive(self):
        return sorted(self.holds)

    def answer(self, slot):
        if not wait([self.tellers[slot]], TURN_SECONDS):
            sys.exit(f"member {slot} does not answer")
        result, pid, held, opened, n, counts, allowed = self.tellers[slot].recv()
        self.pids[slot], self.holds[slot], self.opened[slot] = pid, held, opened
        self.ops += n - self.n[slot]
        self.n[slot], self.allowed[pid] = n, (counts, allowed)
        return result

    def tell(self, slot, *what):
        self.tellers[slot].send(what)
        return self.answer(slot)

    def must(self, wrong):
        if wrong:
            sys.stderr.write(f"seed {self.args.seed}: {wrong}\n")
            sys.exit(1)

    # -- what happens

    def held_by_others(self, slot):
        found = collections.defaultdict(set)
        for other, held in self.holds.items():
            if other != slot:
                for inode, how in held.items():
                    found[inode] |= how
        return dict(found)

    def turn(self, slot):
        seed = self.random.randrange(1 << 40)
        stale, self.stale[slot] = self.stale[slot], set()
        self.must(self.tell(slot, "turn", seed, self.held_by_others(slot), stale))
        changed = self.what_changed()
        for other in self.alive():
            if other != slot:
                self.stale[other] |= changed

    def what_changed(self):
        old, self.tree = self.tree, tree_of(self.args.reference)
        return differing(old, self.tree)

    def something(self, slot):
        """Of what happens between turns."""
        r = self.random.random()
        free = [s for s in range(SLOTS) if s not in self.holds]
        if r < 0.35 and free and len(self.holds) < self.args.members + 1:
            sys.stderr.write(f"{slot}: forks {free[0]}\n")
            self.tell(slot, "fork", free[0])
            self.joins(free[0], slot)
        elif r < 0.5 and len(self.holds) > 2:
            self.end(slot)
        elif r < 0.65:
            sys.stderr.write(f"{slot}: goes on as another program\n")
            self.tell(slot, "exec")
        elif len(self.holds) > 1:
            other = self.random.choice([s for s in self.alive() if s != slot])
            if self.opened[other] < 8:
                f = self.tell(slot, "hand", other, self.random.randrange(100))
                if f:
                    sys.stderr.write(f"{slot}: hands {f.name!r} to {other}\n")
                    self.tell(other, "take", f)

    def compare(self):
        for slot in self.alive():
            self.must(self.tell(slot, "close all"))
        self.must(self.tell(self.alive()[0], "compare"))
        print("check", flush=True)
        if not sys.stdin.readline():
            sys.exit(2)

    def run(self):
        next_check = self.args.every
        while self.ops < self.args.ops:
            slot = self.random.choice(self.alive())
            self.turn(slot)
            if self.random.random() < 0.25:
                self.something(slot)
            if self.ops >= next_check or self.ops >= self.args.ops:
                self.compare()
                next_check = self.ops + self.args.every
        for slot in self.alive():
            self.end(slot)
        counts, allowed = (dict(sum((c[i] for c in self.allowed.values()), collections.Counter()))
                           for i in (0, 1))
        print(f"seed {self.args.seed}, {self.ops} operations: {counts}; let pass: {allowed}")

    def end(self, slot):
        """When this returns it has closed everything."""
        pidfd = os.pidfd_open(self.pids[slot])
        self.tellers[slot].send(("end",))
        del self.holds[slot]
        if not wait([pidfd], TURN_SECONDS):
            sys.exit(f"member {slot} does not end")
        os.close(pidfd)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("dir", nargs="?")
    parser.add_argument("reference", nargs="?")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ops", type=int, default=1000)
    parser.add_argument("--every", type=int, default=500)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--max-size", type=int, default=400_000)
    parser.add_argument("--isolated", action="store_true")
    parser.add_argument("--files-only", action="store_true", help="directories keep their names")
    parser.add_argument("--resume", type=int)
    args = parser.parse_args()
    args.began = time.time() - 5
    os.umask(0)
    if args.resume is not None:
        resume(args.resume)
    team = Team(args)
    try:
        team.run()
    finally:
        for slot in team.alive():
            os.kill(team.pids[slot], signal.SIGKILL)


if __name__ == "__main__":
    main()
