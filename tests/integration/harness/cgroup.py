"""Memory cgroups, of version 1 or 2, below our own; only root can make them."""

import itertools
import os
import pathlib
import re

from . import util

_numbers = itertools.count(1)
UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}


def parse_bytes(text):
    n, unit = re.fullmatch(r"(\d+)(|Ki|Mi|Gi)", text).groups()
    return int(n) * UNITS[unit]


def _roots():
    """(where the hierarchy is mounted, our own group in it), or None."""
    ret = None
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, names, own = line.split(":", 2)
        if "memory" in names.split(","):
            return pathlib.Path("/sys/fs/cgroup/memory"), own.lstrip("/")
        if not names:
            ret = pathlib.Path("/sys/fs/cgroup"), own.lstrip("/")
    return ret


class CannotMake(Exception):
    pass


class Cgroup:
    def __init__(self, limit):
        self.path = self._make()
        self.v2 = (self.path / "memory.max").exists()
        self._write("memory.max" if self.v2 else "memory.limit_in_bytes", limit)
        if not self.v2 and (self.path / "memory.memsw.limit_in_bytes").exists():
            self._write("memory.memsw.limit_in_bytes", limit)

    def _make(self):
        roots = _roots()
        for top in (roots[0] / roots[1], roots[0]) if roots else ():
            path = top / f"stateproxy-test-{os.getpid()}-{next(_numbers)}"
            try:
                path.mkdir()
            except OSError:
                continue
            if (path / "memory.max").exists() or (path / "memory.limit_in_bytes").exists():
                return path
            path.rmdir()
        raise CannotMake("no memory cgroup can be made on this machine")

    def _write(self, name, value):
        (self.path / name).write_text(f"{value}\n")

    def run(self, *args):
        """The command line that runs a program in it."""
        return ["sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$@"', "sh", *args]

    def killed(self):
        """How many of its processes the OOM killer has ended; None where this kernel does not count."""
        name = "memory.events" if self.v2 else "memory.oom_control"
        for line in (self.path / name).read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
        return None

    def refused(self):
        """How often the limit was met: memory was taken back then, or a process was killed."""
        if not self.v2:
            return int((self.path / "memory.failcnt").read_text())
        return int(dict(line.split() for line in (self.path / "memory.events").read_text().splitlines())["max"])

    def peak(self):
        """The most that was in use at once, in bytes: page cache too."""
        return int((self.path / ("memory.peak" if self.v2 else "memory.max_usage_in_bytes")).read_text())

    def stat(self, *names):
        """The sum of these of memory.stat."""
        lines = dict(line.split() for line in (self.path / "memory.stat").read_text().splitlines())
        return sum(int(lines[n]) for n in names)

    def dirty(self):
        """Bytes of files that wait for the disk, and can not be taken back."""
        return self.stat("file_dirty", "file_writeback") if self.v2 else self.stat("dirty", "writeback")

    def remove(self):
        util.wait_until(lambda: not (self.path / "cgroup.procs").read_text().strip(), 20,
                        "the end of the cgroup's processes")
        self.path.rmdir()
