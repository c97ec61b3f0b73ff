"""What the daemon spent: CPU, memory, requests. Looked at from outside, in /proc and by
stateproxyctl, around the piece of work that is measured."""

import os
import re
import subprocess
import threading
import time

TICK = os.sysconf("SC_CLK_TCK")


def _read(path):
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError:             # gone meanwhile
        return b""


def cpu_of(pids):
    """(nanoseconds on a CPU, user seconds, system seconds) of all threads of these processes. The
    first is exact, the others are shares of it that the kernel estimates."""
    ns = user = system = 0
    for pid in pids:
        fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        if not fields:
            continue
        user += int(fields[11]) / TICK
        system += int(fields[12]) / TICK
        for task in os.listdir(f"/proc/{pid}/task"):
            ns += int((_read(f"/proc/{pid}/task/{task}/schedstat").split() or [b"0"])[0])
    return ns or int((user + system) * 1e9), user, system


def pss_of(pids):
    """{pid: bytes}: memory that is shared counts in parts."""
    out = {}
    for pid in pids:
        found = re.search(rb"^Pss:\s+(\d+) kB", _read(f"/proc/{pid}/smaps_rollup"), re.MULTILINE)
        if found:
            out[pid] = int(found[1]) << 10
    return out


def memfds_of(pid):
    """Bytes that the process's memfds hold, mapped by somebody or not (spools are not)."""
    seen = {}
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            path = f"/proc/{pid}/fd/{name}"
            if os.readlink(path).startswith("/memfd:"):
                st = os.stat(path)
                seen[st.st_ino] = st.st_blocks * 512
    except OSError:
        pass
    return sum(seen.values())


class Cost:
    """with Cost(mount) as c: work. Then c.seconds, c.cpu_s, c.user_s, c.system_s, c.s3 and c.fuse
    (requests by operation), c.counters."""

    def __init__(self, mount):
        self.mount = mount
        self.pids = mount.processes()

    def __enter__(self):
        self._status = self.mount.status()
        self._cpu = cpu_of(self.pids)
        self._start = time.monotonic()
        return self

    def __exit__(self, *error):
        if error[0]:
            return
        self.seconds = time.monotonic() - self._start
        after = cpu_of(self.pids)
        self.cpu_s = (after[0] - self._cpu[0]) / 1e9
        self.user_s, self.system_s = after[1] - self._cpu[1], after[2] - self._cpu[2]
        status = self.mount.status()
        self.s3, self.fuse, self.counters = (
            {k: v - self._status[part].get(k, 0) for k, v in status[part].items()
             if v != self._status[part].get(k, 0)} for part in ("s3", "fuse", "counters"))

    def as_dict(self):
        return {"seconds": self.seconds, "cpu_s": self.cpu_s, "user_s": self.user_s,
                "system_s": self.system_s, "s3": self.s3, "fuse": self.fuse,
                "counters": self.counters}


class Others:
    """with Others(pids) as o: work. Then o.share: of all CPUs, how much went to programs that have
    nothing to do with the bench (and to kernel threads). `pids` are of daemon and server."""

    def __init__(self, pids):
        self.pids = pids

    def _now(self):
        fields = _read("/proc/stat").split(b"\n", 1)[0].split()[1:]
        user, nice, system, _, _, irq, softirq = (int(x) for x in fields[:7])
        busy = (user + nice + system + irq + softirq) / TICK
        return time.monotonic(), busy - cpu_of(self.pids)[0] / 1e9 - sum(os.times()[:4])

    def __enter__(self):
        self._start = self._now()
        return self

    def __exit__(self, *error):
        end = self._now()
        seconds, others = (b - a for a, b in zip(self._start, end))
        self.share = max(0.0, others / seconds / os.cpu_count())


class Peak(threading.Thread):
    """with Peak(mount) as p: work. Then p.pss, and p.memfds, the most that was seen of each.
    Looking costs the daemon time, so this goes with runs that are not timed."""

    def __init__(self, mount, every=0.03):
        super().__init__(daemon=True)
        self.pids, self.leader, self.every = mount.processes(), mount.proc.pid, every
        self.pss = self.memfds = 0
        self.over = threading.Event()

    def run(self):
        while not self.over.is_set():
            self.pss = max(self.pss, sum(pss_of(self.pids).values()))
            self.memfds = max(self.memfds, memfds_of(self.leader))
            self.over.wait(self.every)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.over.set()
        self.join()


class Strace:
    """with Strace(mount, directory) as s: work. Then s.calls, {system call: times}, of all
    processes of the daemon. They run several times slower meanwhile."""

    def __init__(self, mount, directory):
        self.pids, self.path = mount.processes(), os.path.join(str(directory), "strace")
        self.calls = {}

    def __enter__(self):
        args = ["strace", "-f", "-c", "-U", "calls,name", "-o", self.path]
        for pid in self.pids:
            args += ["-p", str(pid)]
        self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True)
        for _ in self.pids:             # "strace: Process N attached"
            self.process.stderr.readline()
        return self

    def __exit__(self, *error):
        self.process.send_signal(2)
        self.process.communicate(timeout=30)
        for line in _read(self.path).decode().splitlines():
            fields = line.split()
            if len(fields) == 2 and fields[0].isdigit() and fields[1] != "total":
                self.calls[fields[1]] = int(fields[0])
