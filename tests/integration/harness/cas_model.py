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


@dataclasses.dataclass
class Baseline:
    """What somebody last read or wrote; version ABSENT: a conflict has told that the key is gone."""

    version: str
    read: bool = False


@dataclasses.dataclass
class Session:
    """A file that a process has open for writing."""

    key: str
    expects: str
    content: str
    dirty: bool = False
    failed: bool = False        # what is unpublished has been refused: nobody sees it any more


class Model:
    def __init__(self, mount_of):
        self.mount_of = mount_of        # process -> mount
        self.server = {}                # key -> version
        self.empties = itertools.count(1)
        self.baselines = {}             # (who, key) -> Baseline
        self.sessions = {}              # process -> Session, one at a time

    # -- what somebody knows

    def known(self, process, key):
        """The process's own baseline, else its mount's."""
        return (self.baselines.get((process, key)) or
                self.baselines.get((self.mount_of[process], key)))

    def holders(self, process, key):
        return [(process, key), (self.mount_of[process], key)]

    def is_outdated(self, own, there):
        """The process has read another version than the one that it goes on from."""
        return bool(own and own.read and own.version != ABSENT and
                    not same_content(own.version, there))

    def has_read(self, process, key, version):
        for holder in self.holders(process, key):
            self.baselines[holder] = Baseline(version, read=True)

    def has_written(self, process, key, version):
        """What was read before stays so: a conflict does not take it away."""
        for holder in self.holders(process, key):
            old = self.baselines.get(holder)
            read = bool(old and old.version != ABSENT and old.read)
            if old and old.version == ABSENT:
                read = old.read
            self.baselines[holder] = Baseline(version, read)

    def has_lost(self, process, key, expected):
        """After a conflict."""
        if expected == ABSENT:
            return
        for holder in self.holders(process, key):
            if key not in self.server:
                self.baselines[holder] = Baseline(ABSENT)
            elif (old := self.baselines.get(holder)) and not old.read and old.version != ABSENT:
                del self.baselines[holder]

    def has_removed(self, process, key):
        for holder in self.holders(process, key):
            self.baselines.pop(holder, None)

    # -- a write

    def expected_of_new_content(self, process, key):
        baseline = self.known(process, key)
        return baseline.version if baseline else ANY

    def put(self, process, key, expects, content):
        there = self.server.get(key, ABSENT)
        if expects == REFUSED or expects not in (ANY, there):
            if expects != REFUSED:
                self.has_lost(process, key, expects)
            return "EEXIST"
        self.server[key] = content or f"#{next(self.empties)}"
        self.has_written(process, key, self.server[key])
        return "ok"

    # -- what processes do

    def own(self, process, key):
        """The process's session on the key that has something unpublished."""
        s = self.sessions.get(process)
        visible = s and s.key == key and s.dirty and not s.failed and s.expects != REFUSED
        return s if visible else None

    def read(self, process, key):
        if s := self.own(process, key):
            return s.content
        if key not in self.server:
            return "ENOENT"
        self.has_read(process, key, self.server[key])
        return content_of(self.server[key])

    def open(self, process, key, mode):
        there = self.server.get(key)
        if mode == "r+" and there is None:
            return "ENOENT"
        if mode == "x":
            if there is not None:
                return "EEXIST"
            self.put(process, key, ABSENT, "")
            self.sessions[process] = Session(key, self.server[key], "")
        elif mode == "w" or there is None:
            expects = self.expected_of_new_content(process, key)
            if mode != "w" and expects == ANY:                  # built on nothing
                expects = ABSENT
            self.sessions[process] = Session(key, expects, "", dirty=True)
        else:                                                   # "a", "r+": what is loaded
            own = self.baselines.get((process, key))
            refused = mode == "r+" and self.is_outdated(own, there)
            self.sessions[process] = Session(key, REFUSED if refused else there,
                                             content_of(there))
        return "ok"

    def write(self, process, text, mode):
        s = self.sessions[process]
        s.content = text + s.content[len(text):] if mode == "r+" else s.content + text
        s.dirty, s.failed = True, False
        return "ok"

    def publish(self, process):
        s = self.sessions[process]
        if not s.dirty:
            return "ok"
        outcome = self.put(process, s.key, s.expects, s.content)
        s.failed = outcome != "ok"
        if outcome == "ok":
            s.expects, s.dirty = self.server[s.key], False
        return outcome

    def close(self, process):
        outcome = self.publish(process)
        del self.sessions[process]
        return outcome

    def unlink(self, process, key):
        if key not in self.server:
            return "ENOENT"
        own = self.baselines.get((process, key))
        if own and own.version not in (ABSENT, self.server[key]):
            return "EEXIST"
        del self.server[key]
        self.has_removed(process, key)
        return "ok"

    def rename(self, process, old, new, noreplace):
        there = self.server.get(old)
        if there is None:
            return "ENOENT"
        if noreplace and new in self.server:
            return "EEXIST"
        own = self.baselines.get((process, old))
        if self.is_outdated(own, there):
            return "EEXIST"
        expects = ABSENT if noreplace else self.expected_of_new_content(process, new)
        if expects == ANY:
            expects = self.server.get(new, ABSENT)              # what the lookup has found
        outcome = self.put(process, new, expects, content_of(there))
        if outcome == "ok":
            del self.server[old]
            self.has_removed(process, old)
        return outcome
