"""What S3 has acknowledged is seen at once: two mounts and an S3 client change names and look at them in
turn, while others list. An open, a stat, an access see the last change; a listing is as young as
directories.ttl.

STATEPROXY_TEST_FRESHNESS is the number of rounds (300)."""

import os
import random
import time

import pytest

from harness import SLOW
from harness.actor import Actor
from test_cas import CAS

LWW = "s3-buffered-lww"
ROUNDS = int(os.environ.get("STATEPROXY_TEST_FRESHNESS", "300" if SLOW == 1 else "100"))
TTL = 0.5
NAMES = ["f", "f.txt", "d/f", "d/f.bin", "d/e/f.txt", "d/e/g", "made/f", "made/new/f.txt"]
SAVING = {os.path.basename(name) + ".tmp" for name in NAMES}    # a listing may be of that moment
TOPS = ["", "d", "d/e", "made", "made/new"]

pytestmark = [pytest.mark.slow, pytest.mark.limit(max(120, ROUNDS // 2)),
              pytest.mark.noise(writers=True)]


class Truth:
    """What S3 has, and until when something else may be listed."""

    def __init__(self):
        self.files = {}             # name -> content
        self.changed = {}           # path -> when its presence changed last
        self.made = set(TOPS[1:])   # directories that have markers

    def directories(self):
        found = set(self.made)
        for name in self.files:
            while name := os.path.dirname(name):
                found.add(name)
        return found

    def there(self):
        return set(self.files) | self.directories()

    def put(self, name, content):
        self._change(lambda: self.files.__setitem__(name, content))

    def remove(self, name):
        self._change(lambda: self.files.pop(name))

    def _change(self, change):
        before = self.there()
        change()
        for path in before ^ self.there():
            self.changed[path] = time.monotonic()

    def listed(self, top, at):
        """(names that a listing begun then must show, those that it may show besides)"""
        must, may = set(), set()
        for path in self.there() | set(self.changed):
            if path and os.path.dirname(path) == top:
                old = self.changed.get(path, 0) < at - TTL
                (must if old and path in self.there() else may if not old else set()).add(
                    os.path.basename(path))
        return must, may


class Client:
    """The S3 client as one of the three."""

    name = "client"

    def __init__(self, bucket, prefix):
        self.raw, self.prefix = bucket.raw(), prefix

    def key(self, name):
        return f"{self.prefix}/{name}"

    def put(self, name, content, how):
        self.raw.put(self.key(name), content)

    def delete(self, name):
        self.raw.delete(self.key(name))

    def rename(self, old, new, content):
        self.raw.put(self.key(new), content)
        self.raw.delete(self.key(old))

    def looks(self, name, rng):
        return "get", self.raw.get(self.key(name))

    def list(self, top):
        return None


class User:
    """A process on a mount."""

    def __init__(self, m, actor, name):
        self.path, self.actor, self.name = m.path, actor, name

    def put(self, name, content, how):
        """In one of the ways in which programs do it. What is there is read first: who writes over
        what he has not seen is refused with compare-and-set."""
        path = self.path / name
        self._get(path)
        if how == "save":
            self.actor.write_all(f"{path}.tmp", content)
            self.actor.replace(f"{path}.tmp", path)
        elif how == "shell":
            self.actor.run('printf %s "$2" >"$1"', path, content.decode())
        else:
            self.actor.write_all(path, content)

    def delete(self, name):
        self._get(self.path / name)
        self.actor.unlink(self.path / name)

    def rename(self, old, new, content):
        for name in (old, new):
            self._get(self.path / name)
        self.actor.rename(self.path / old, self.path / new)

    def _get(self, path):
        try:
            return self.actor.read_all(path)
        except FileNotFoundError:
            return None

    def looks(self, name, rng):
        """One way of looking, and what it shows: bytes, or None; of a stat the size's."""
        path = self.path / name
        how = rng.choice(["open", "open", "open", "stat", "exists", "cat", "exclusive", "r+"])
        try:
            if how == "open":
                return how, self.actor.read_all(path)
            if how == "stat":
                return how, self.actor.size(path)
            if how == "exists":
                return how, self.actor.exists(path)
            if how == "cat":
                return how, self.actor.run('cat "$1"', path).encode()
            if how == "r+":
                fd = self.actor.open(path, os.O_RDWR)
                try:
                    return how, self.actor.pread(fd, 1 << 16, 0)
                finally:
                    self.actor.close(fd)
            return how, self._exclusive(path)
        except FileNotFoundError:
            return how, None
        except AssertionError as e:
            return how, None if "No such file" in str(e) else str(e)

    def _exclusive(self, path):
        """True: it is there. It is not made where it is not."""
        if not self.actor.exists(path):
            return False
        try:
            self.actor.close(self.actor.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return True
        return "made anew"

    def list(self, top):
        try:
            return set(self.actor.listdir(self.path / top))
        except FileNotFoundError:
            return set()


def expected_of(how, content):
    if how == "stat":
        return None if content is None else len(content)
    if how in ("exists", "exclusive"):
        return content is not None
    return content


class World:
    def __init__(self, users, seed):
        self.users, self.rng = users, random.Random(seed)
        self.truth, self.told, self.number, self.refused = Truth(), [], 0, 0

    def change(self, who):
        """One acknowledged change."""
        name, truth = self.rng.choice(NAMES), self.truth
        r = self.rng.random()
        content = b"%d-" % self.number * self.rng.choice((1, 1, 7, 900))
        if r < 0.6 or name not in truth.files:
            how = self.rng.choice(["write", "save", "shell"])
            self.told.append(f"{who.name} puts {name} ({how})")
            self.insist(who.put, name, content, how)
            truth.put(name, content)
        elif r < 0.85:
            self.told.append(f"{who.name} removes {name}")
            self.insist(who.delete, name)
            truth.remove(name)
        else:
            new = self.rng.choice([n for n in NAMES if n != name])
            self.told.append(f"{who.name} renames {name} to {new}")
            self.insist(who.rename, name, new, truth.files[name])
            truth.put(new, truth.files[name])
            truth.remove(name)
            self.look(new)
        return name

    def insist(self, change, *args):
        """Reads again and tries again, once: compare-and-set says once that a name has gone which this
        process knew. Never twice."""
        try:
            change(*args)
        except FileExistsError:
            self.refused += 1
            try:
                change(*args)
            except OSError as e:
                self.fail(f"refused twice: {e}")
        except (OSError, AssertionError) as e:
            self.fail(str(e))

    def put_far(self):
        """The first object of a new directory, two levels deep, from elsewhere."""
        name = f"new{self.number}/a/f{self.rng.choice(('', '.txt'))}"
        self.told.append(f"the client puts {name}")
        self.users[-1].put(name, b"far", None)
        self.truth.put(name, b"far")
        self.look(name)

    def look(self, name):
        for who in self.users:
            how, seen = who.looks(name, self.rng)
            expected = expected_of(how, self.truth.files.get(name))
            if seen != expected:
                self.fail(f"{who.name}: {how} of {name} shows {str(seen)[:60]!r}, "
                          f"expected {str(expected)[:60]!r}")

    def list(self, who, top):
        at = time.monotonic()
        seen = who.list(top)
        if seen is None:
            return
        must, may = self.truth.listed(top, at)
        missing, extra = must - seen, seen - must - may - SAVING
        if missing or extra:
            self.fail(f"{who.name}: the listing of {top!r} is without {missing}, and has {extra}")

    def fail(self, what):
        pytest.fail("\n".join([f"round {self.number}: {what}", *self.told[-15:]]), pytrace=False)

    def round(self):
        self.number += 1
        name = self.change(self.rng.choice(self.users))
        self.look(name)
        if self.rng.random() < 0.5:
            self.look(self.rng.choice(NAMES))
        if self.rng.random() < 0.1:
            self.put_far()
        if self.rng.random() < 0.4:
            self.list(self.rng.choice(self.users), self.rng.choice(TOPS))


@pytest.fixture
def actors():
    made = [Actor(), Actor()]
    yield made
    for a in made:
        a.stop()


@pytest.mark.parametrize("variant", [LWW, CAS], ids=["lww", "cas"])
def test_what_is_acknowledged_is_seen(mount, bucket, seed, actors, variant):
    mounts = [mount(variant=variant, env={"STATEPROXY_DIRECTORIES_TTL": f"{int(TTL * 1000)}ms"})
              for _ in range(2)]
    for top in TOPS[1:]:
        bucket.put(f"p/{top}/")
    users = [User(m, a, f"mount {i}") for i, (m, a) in enumerate(zip(mounts, actors))]
    world = World([*users, Client(bucket, "p")], seed)
    began = time.monotonic()
    for _ in range(ROUNDS):
        world.round()
    print(f"{ROUNDS} rounds, {time.monotonic() - began:.1f} s, {world.refused} refused once")
    assert variant == CAS or not world.refused
    there = {k: bucket.get(k) for k in bucket.list("p/") if not k.endswith("/")}
    assert there == {f"p/{n}": c for n, c in world.truth.files.items()}
    for m in mounts:
        m.leave_alone()
        m.check()
