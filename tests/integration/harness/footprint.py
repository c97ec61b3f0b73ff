"""What a mount has in use when nothing uses it: counts that must be the same after any amount of work."""

import os
import stat

from . import util

TABLES = ("lookups", "handles", "sessions", "session_bytes", "blocks_fetching")


def _descriptors(pid):
    """{what it is: how many}, without the connections that are kept to S3."""
    out = {}
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{number}")
        except FileNotFoundError:
            continue
        if target.startswith("socket:"):
            continue
        kind = target.split(":")[0] if ":" in target else os.path.dirname(target)
        kind = kind.replace(f"/proc/{pid}", "/proc/self")
        out[kind] = out.get(kind, 0) + 1
    return out


def spooled(pid):
    """(bytes in memory, bytes on disk) of the nameless files of sessions and of parked writes."""
    memory = disk = 0
    for number in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{number}"
        try:
            target, info = os.readlink(path), os.stat(path)
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(info.st_mode) or not target.endswith("(deleted)"):
            continue
        if not target.startswith("/memfd:"):
            disk += info.st_blocks * 512
        elif "stateproxy-spool" in target:
            memory += info.st_blocks * 512
    return memory, disk


def footprint(m):
    """What it is compared by. Files that exist are looked up and forgotten by the kernel as it
    likes: ask with the mount as empty each time."""
    tables = m.status()["tables"]
    out = {name: tables[name] for name in TABLES}
    out["spooled"] = sum(spooled(m.proc.pid))
    out["descriptors of the supervisor"] = _descriptors(m.proc.pid)
    out["descriptors of a worker"] = [_descriptors(p) for p in m.worker_pids()]
    return out


def assert_footprint(m, expected):
    """It comes back to what it was: FORGETs and RELEASEs are on their way for a moment."""
    last = {}

    def same():
        try:
            last["is"] = footprint(m)
        except FileNotFoundError:       # a process ended meanwhile
            return False
        return last["is"] == expected
    try:
        util.wait_until(same, 20, "what is in use being as before", every=0.05)
    except AssertionError as e:
        wrong = {n: (v, last["is"][n]) for n, v in expected.items() if last["is"][n] != v}
        raise AssertionError(f"{e}: (before, now) {wrong}") from None
