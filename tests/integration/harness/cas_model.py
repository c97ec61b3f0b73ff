"""The rules of compare-and-set as a program: what each write expects, what becomes of it, and what is
read. tests/integration/test_cas_model.py compares it with the daemon.

A version is known by its content, as S3's ETag is; but those of empty files, which are put for O_EXCL
and by O_TRUNC, by their write-ids: "#1", "#2". `who` is a process or a mount; a mount's processes
share its baseline. Outcomes are "ok", a text that was read, or the name of an error."""

import dataclasses
import itertools

ANY, ABSENT, REFUSED = "any", "absent", "refused"      # expectations that are no version


def content_of(version):
    return "" if version.startswith("#") else version


def same_content(a, b):
    """Two empty files are no different to who goes on from one of them."""
    return content_of(a) == content_of(b)


@dataclasses.dataclass(eq=False)
class Baseline:
    """What somebody last read or wrote; version ABSENT: a conflict has told that the key is gone."""

    version: str
    read: bool = False


@dataclasses.dataclass(eq=False)
class Session:
    """A file that a process has open for writing."""

    who: object
    key: str
    expects: str
    base: str                   # the version that is expected or loaded; ABSENT: a new file
    content: str
    dirty: bool = False
    emptied: bool = False       # since the last publish; with no content: nothing written either
    failed: bool = False        # what is unpublished has been refused: nobody sees it any more
    orphan: bool = False        # unlinked: publishes nothing any more
    touched: bool = False       # read through a writing descriptor, or written
    replaced: bool = False      # another process on this mount has removed or replaced the file
    untold: bool = False        # truncated by path, refused: the kernel has not heard of its size
    born: str = ""              # its first name, which is what its descriptors are known by
    guessed: bool = False       # a young listing may have said that the file is new: its base is ABSENT then
    unsure: bool = False        # guessed, and another process has removed or replaced the file: of a new file
    #                             that is no concern

    def __post_init__(self):
        self.born = self.key


@dataclasses.dataclass(eq=False)
class Writer:
    """A descriptor."""

    session: Session
    mode: str
    name: str                   # by which it was opened
    at: int = 0


@dataclasses.dataclass(eq=False)
class Reader:
    """A descriptor: of one version, or (of what its own process was writing) of a session. A version to
    which something was appended on this mount may show that, too (`tail -f`)."""

    text: str
    session: Session = None
    mount: object = None
    key: str = ""
    grown: list = dataclasses.field(default_factory=list)

    def texts(self):
        return [self.session.content] if self.session else [self.text, *self.grown]


def names_of(writer):
    return {writer.name, writer.session.born, writer.session.key}


class Model:
    def __init__(self, mount_of):
        self.mount_of = dict(mount_of)  # process -> mount
        self.parent_of = {}             # of a child that has begun after all that its parent did
        self.server = {}                # key -> version
        self.empties = itertools.count(1)
        self.baselines = {}             # (who, key) -> Baseline
        self.writers = []
        self.readers = []

    # -- what somebody knows

    def own_baseline(self, process, key):
        return self.baselines.get((process, key))

    def known(self, process, key):
        """The process's own baseline, else its parent's, else its mount's."""
        holders = (process, self.parent_of.get(process), self.mount_of[process])
        found = (self.baselines.get((who, key)) for who in holders if who is not None)
        return next(filter(None, found), None)

    def holders(self, process, key):
        return [(process, key), (self.mount_of[process], key)]

    def is_outdated(self, own, there):
        """The process has read another version than the one that it goes on from."""
        return bool(own and own.read and not same_content(own.version, there))

    def has_read(self, process, key, version):
        for holder in self.holders(process, key):
            self.baselines[holder] = Baseline(version, read=True)

    def has_written(self, process, key, version):
        """What was read before stays so: a conflict does not take it away."""
        for holder in self.holders(process, key):
            old = self.baselines.get(holder)
            self.baselines[holder] = Baseline(version, read=bool(old and old.read))

    def has_lost(self, process, key, expected):
        """After a conflict."""
        parents = (self.parent_of.get(process), key)
        old = self.baselines.get(parents)
        if old and not old.read and self.own_baseline(process, key) is None and \
                old.version == expected:
            del self.baselines[parents]                         # as its own would
        for holder in self.holders(process, key):
            old = self.baselines.get(holder)
            if old and not same_content(old.version, expected):    # it has learned of another one meanwhile
                continue
            if key not in self.server:
                self.baselines[holder] = Baseline(ABSENT, read=bool(old and old.read))
            elif old and not old.read:
                del self.baselines[holder]

    def has_removed(self, process, key, version):
        """It knows that nothing is there; so does its parent, of what it has only written, or of this
        very version."""
        self.baselines[process, key] = Baseline(ABSENT)
        self.baselines.pop((self.mount_of[process], key), None)
        parents = (self.parent_of.get(process), key)
        old = self.baselines.get(parents)
        if old and (not old.read or (old.version != ABSENT and same_content(old.version, version))):
            self.baselines[parents] = Baseline(ABSENT, read=old.read)

    def followed(self, process, key, expects):
        """The parent, which waits for its child, knows what that replaces."""
        old = self.baselines.get((self.parent_of.get(process), key))
        return bool(old and expects not in (ANY, REFUSED) and
                    (old.version == ABSENT) == (expects == ABSENT) and
                    same_content(old.version, expects))

    # -- a write

    def expected_of_new_content(self, process, key):
        baseline = self.known(process, key)
        return baseline.version if baseline else ANY

    def expected_of_new_file(self, process, key, truncate):
        """It was told that nothing is there."""
        own = self.own_baseline(process, key)
        if truncate and own:
            return own.version              # gone meanwhile: told once
        return ABSENT if not truncate or self.known(process, key) else ANY

    def has_grown(self, process, key, expects, content):
        for r in self.readers:
            if (r.mount, r.key) == (self.mount_of[process], key) and \
                    content_of(expects) in r.texts() and content.startswith(content_of(expects)):
                r.grown.append(content)

    def put(self, process, key, expects, content):
        there = self.server.get(key, ABSENT)
        if expects == REFUSED:
            return "EEXIST"
        if expects not in (ANY, there):
            self.has_lost(process, key, expects)
            return "EEXIST"
        followed = self.followed(process, key, expects)
        self.has_grown(process, key, expects, content)
        self.server[key] = content or f"#{next(self.empties)}"
        self.has_written(process, key, self.server[key])
        if followed:
            parent = self.parent_of[process], key
            self.baselines[parent] = Baseline(self.server[key], self.baselines[parent].read)
        return "ok"

    def publish(self, s):
        if s.orphan or not s.dirty:
            return "ok"
        outcome = self.put(s.who, s.key, s.expects, s.content)
        s.failed = outcome != "ok"
        if outcome == "ok":
            s.expects = s.base = self.server[s.key]
            s.dirty = s.emptied = s.guessed = False
        return outcome

    # -- sessions

    def family(self, process):
        """What a child does to names, while its parent waits for it, the parent does."""
        return {process, self.parent_of.get(process, process)}

    def sessions(self, whose, key):
        """Those that are still of this name."""
        found = []
        for w in self.writers:
            s = w.session
            if s.who in whose and s.key == key and not (s.orphan or s.replaced) and \
                    s not in found:
                found.append(s)
        return found

    def visible(self, process, key):
        """What the process finds by name instead of what is published: its own, as long as
        something is unpublished and not refused."""
        return [s for s in self.sessions({process}, key)
                if s.dirty and not s.failed and s.expects != REFUSED]

    def clean(self, process, key):
        """Its own in which nothing is unpublished, of the version that is there: one that it opens once
        more is the same file."""
        there = self.server.get(key, ABSENT)
        return [s for s in self.sessions({process}, key)
                if not s.dirty and not s.failed and s.expects != REFUSED and
                there != ABSENT and s.base != ABSENT and same_content(s.base, there)]

    def left_behind(self, process, key):
        """Its own in which nothing is unpublished, of a version that is there no more: whether one
        that it empties by name is this file is known as soon as anybody has looked the name up."""
        return [s for s in self.sessions({process}, key)
                if not s.dirty and not s.failed and s.expects != REFUSED and
                s not in self.clean(process, key)]

    def begin(self, process, key, truncate, append):
        there = self.server.get(key, ABSENT)
        if truncate or there == ABSENT:
            expects = (self.expected_of_new_file(process, key, truncate) if there == ABSENT
                       else self.expected_of_new_content(process, key))
            base = expects if expects != ANY else there
            return Session(process, key, expects, base, "", dirty=True, emptied=True,
                           guessed=there != ABSENT)
        refused = not append and self.is_outdated(self.own_baseline(process, key), there)
        return Session(process, key, REFUSED if refused else there, there, content_of(there))

    def change(self, s, content):
        s.content = content
        s.dirty, s.failed, s.touched = True, False, True

    def resize(self, s, size):
        self.change(s, s.content[:size].ljust(size, "\0"))
        s.emptied = True

    def replaces(self, process, key):
        """What others on the mount have open of this name is another file than it has from now on."""
        for w in self.writers:
            s = w.session
            if s.key == key and s.who not in self.family(process) and not s.orphan and s.base != ABSENT and \
                    self.mount_of[s.who] == self.mount_of[process]:
                s.replaced, s.unsure = True, s.guessed

    # -- what processes do

    def open(self, process, key, mode):
        """-> (outcome, Writer)"""
        own = self.visible(process, key)
        there = own or key in self.server
        if mode == "r+" and not there:
            return "ENOENT", None
        if mode == "x":
            if there:
                return "EEXIST", None
            self.put(process, key, ABSENT, "")
            version = self.server[key]
            s = Session(process, key, version, version, "")
        elif own := own or self.clean(process, key):
            s = own[0]
            if mode == "w":
                self.resize(s, 0)
        else:
            s = self.begin(process, key, mode == "w", mode == "a")
        self.writers.append(Writer(s, mode, key))
        return "ok", self.writers[-1]

    def write(self, writer, text):
        s = writer.session
        at = len(s.content) if writer.mode == "a" else writer.at
        before = s.content[:at].ljust(at, "\0")
        self.change(s, before + text + s.content[at + len(text):])
        writer.at = at + len(text)
        return "ok"

    def read_of_writer(self, writer):
        """Of one that was opened with "r+": counts as a read of the version that is loaded."""
        s = writer.session
        if not s.dirty:
            self.has_read(s.who, s.key, s.base)
        s.touched = True
        return s.content

    def fsync(self, writer):
        return self.publish(writer.session)

    def is_left_to_another(self, writer):
        """Emptied, nothing written yet, and the process has another descriptor that may be the
        file's: the close sends nothing, and answers "ok". If it was the last one of its open(2),
        the file is published all the same, a moment later, and how that went is told to nobody.
        What a descriptor is the file's by, its inode number, it may have from any name that it
        was opened by, or that its session had."""
        s = writer.session
        return s.emptied and not s.content and any(
            w is not writer and w.session.who == s.who and names_of(w) & names_of(writer)
            for w in self.writers)

    def close(self, writer):
        assert not self.is_left_to_another(writer)
        self.writers.remove(writer)
        return self.publish(writer.session)

    def truncate(self, process, key, size):
        """By path: published before it returns."""
        own = self.visible(process, key)
        if not own and key not in self.server:
            return "ENOENT"
        own = own or self.clean(process, key)
        s = own[0] if own else self.begin(process, key, size == 0, append=False)
        self.resize(s, size)
        outcome = self.publish(s)
        s.untold = s.untold or outcome != "ok"
        return outcome

    def open_to_read(self, process, key):
        """-> (outcome, Reader)"""
        if own := self.visible(process, key):
            reader = Reader(own[0].content, own[0])
        elif key not in self.server:
            return "ENOENT", None
        else:
            self.has_read(process, key, self.server[key])
            own = self.clean(process, key)
            reader = (Reader(own[0].content, own[0]) if own else
                      Reader(content_of(self.server[key]), mount=self.mount_of[process],
                             key=key))
        self.readers.append(reader)
        return "ok", reader

    def size(self, process, key):
        """No read."""
        if own := self.visible(process, key):
            return str(len(own[0].content))
        if key not in self.server:
            return "ENOENT"
        return str(len(content_of(self.server[key])))

    def child(self, number, parent):
        """A process that has nothing but what its parent had."""
        child = ("child", number)
        self.parent_of[child] = parent
        self.mount_of[child] = self.mount_of[parent]
        return child

    def unlink(self, process, key):
        if not self.visible(process, key) and key not in self.server:
            return "ENOENT"
        own = self.own_baseline(process, key)
        there = self.server.get(key)
        if there and own and own.version not in (ABSENT, there):
            return "EEXIST"
        self.replaces(process, key)
        self.server.pop(key, None)
        for s in self.sessions(self.family(process), key):
            s.orphan, s.dirty, s.emptied = True, False, False
        self.has_removed(process, key, there or ABSENT)
        return "ok"

    def rename(self, process, old, new, noreplace):
        if not self.visible(process, old) and old not in self.server:
            return "ENOENT"
        if noreplace and (self.visible(process, new) or new in self.server):
            return "EEXIST"
        for s in self.visible(process, old):                    # what is unpublished comes first
            if (outcome := self.publish(s)) != "ok":
                return outcome
        there = self.server[old]
        own = self.own_baseline(process, old)
        if self.is_outdated(own, there):
            return "EEXIST"
        if own and own.version.startswith("#") and there.startswith("#") and own.version != there:
            return "EEXIST"                                     # another's empty file
        expects = (ABSENT if noreplace else
                   self.expected_of_new_content(process, new) if new in self.server else
                   self.expected_of_new_file(process, new, truncate=True))
        if expects == ANY:
            expects = self.server.get(new, ABSENT)              # what the lookup has found
        outcome = self.put(process, new, expects, content_of(there))
        if outcome != "ok":
            return outcome
        del self.server[old]
        self.replaces(process, old)
        self.replaces(process, new)
        self.has_removed(process, old, there)
        for s in self.sessions(self.family(process), new):      # replaced
            s.orphan, s.dirty, s.emptied = True, False, False
        for s in self.sessions(self.family(process), old):      # moves along
            if same_content(s.base, there):
                s.key, s.base = new, self.server[new]
                if s.expects not in (ANY, REFUSED):
                    s.expects = s.base
        return "ok"
