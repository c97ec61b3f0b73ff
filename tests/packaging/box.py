"""A small machine of its own for a test: a root file system, with changes in memory, in namespaces of
mounts, processes, host name and cgroups; the network is the test's. Needs root, no container engine."""

import contextlib
import os
import pathlib
import select
import subprocess
import tempfile

from harness import SLOW, util

# Runs in a mount namespace of its own. $1: the root, $2: a folder, $3: name of a cgroup, then the
# command that becomes process 1.
OUTER = r"""
set -e
root=$1 work=$2 name=$3
shift 3
mkdir "$work/cgroup"
mount -t cgroup2 none "$work/cgroup"
mkdir "$work/cgroup/$name"
echo $$ >"$work/cgroup/$name/cgroup.procs"
umount "$work/cgroup"
exec unshare --mount --pid --cgroup --uts --ipc --fork --kill-child=KILL --propagation private \
    bash -c "$INNER" inner "$root" "$work" "$@"
"""

INNER = r"""
set -e
root=$1 work=$2
shift 2
mkdir "$work/changes"
mount -t tmpfs tmpfs "$work/changes"
mkdir "$work/changes/up" "$work/changes/work" "$work/changes/root"
mount -t overlay overlay -o "lowerdir=$root,upperdir=$work/changes/up,workdir=$work/changes/work" \
    "$work/changes/root"
cd "$work/changes/root"
mkdir -p proc sys dev run tmp
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t tmpfs -o mode=755 tmpfs dev
for x in null zero full random urandom tty fuse autofs; do
    [ -e "/dev/$x" ] || continue
    : >"dev/$x"
    mount --bind "/dev/$x" "dev/$x"
done
mkdir dev/shm dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t cgroup2 none sys/fs/cgroup 2>/dev/null || true
hostname box
pivot=$work/changes/root
mkdir -p .old
pivot_root . .old
umount -l .old
rmdir .old
echo inside
exec "$@"
"""


class Box:
    """Box(root, guard) runs until stop(); run() runs a program inside."""

    def __init__(self, root, guard, init=("bash", "-c", "sleep infinity & wait"), env=None):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="sp-box-", dir=util.short_tmp()))
        self.cgroup = f"stateproxy-{self.work.name}"
        # (bash reaps what is orphaned) The end of process 1 is the end of everything in it
        self.proc = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "bash", "-c", OUTER, "outer", root, self.work,
             self.cgroup, "env", "-i", f"PATH={PATH}", *[f"{k}={v}" for k, v in (env or {}).items()], *init],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**util.clean_env(), "INNER": INNER}, start_new_session=True)
        guard.watch_process(self.proc.pid)
        self.pid = None
        try:
            self._wait_inside()
        except BaseException:
            self.stop()
            raise

    def _wait_inside(self):
        out = b""
        while not out.endswith(b"inside\n"):
            ready, _, _ = select.select([self.proc.stdout], [], [], 30 * SLOW)
            more = os.read(self.proc.stdout.fileno(), 4096) if ready else b""
            out += more
            assert more, f"the box does not start: {out.decode(errors='replace')}"
        self.pid = util.children(self.proc.pid)[0]

    def path(self, inside):
        """Where a file of the box is for the test."""
        return pathlib.Path(f"/proc/{self.pid}/root") / str(inside).lstrip("/")

    def _enter(self, args, env):
        if isinstance(args, str):
            args = ["sh", "-c", args]
        return ["nsenter", "-t", str(self.pid), "-m", "-p", "-u", "-i", "-C", "-r", "-w", "env", "-i",
                f"PATH={PATH}", "HOME=/root", "LC_ALL=C.UTF-8", *[f"{k}={v}" for k, v in (env or {}).items()],
                *[str(a) for a in args]]

    def run(self, args, check=True, timeout=60, env=None, input=None):
        return util.run(self._enter(args, env), timeout, check=check, input=input)

    def spawn(self, args, env=None, **kwargs):
        return util.spawn(self._enter(args, env), **kwargs)

    def mounts(self):
        """(mount point, source, options) of every mount of ours in the box."""
        out = []
        for line in self.path("/proc/1/mounts").read_text().splitlines():
            source, where, kind, options, *_ = line.split()
            if kind == "fuse.stateproxy":
                out.append((where, source, options.split(",")))
        return out

    def pids(self, name):
        """Processes of that program, as numbers inside the box; the oldest first."""
        found = self.run(["pgrep", "-x", name], check=False).out.split()
        return sorted(int(p) for p in found)

    def stop(self):
        for pid in util.children(self.proc.pid):
            util.kill(pid)          # process 1: all others end with it
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.proc.wait(5)
        if self.proc.poll() is None:
            util.kill(self.proc.pid)
            self.proc.wait()
        self.proc.stdout.close()
        self._remove_cgroup()
        # (mounts were in the namespace that is gone)
        for name in ("changes", "cgroup"):
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(self.work / name)
        os.rmdir(self.work)

    def _remove_cgroup(self):
        script = ('mkdir -p "$1/cgroup" && mount -t cgroup2 none "$1/cgroup" && cd "$1/cgroup" && '
                  '{ [ ! -d "$2" ] || find "$2" -depth -type d -exec rmdir {} +; }')

        def gone():
            done = util.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "remove",
                             self.work, self.cgroup], check=False)
            return done.code == 0
        try:
            util.wait_until(gone, 30, "the end of the box's processes", every=0.1)
        except AssertionError as e:
            left = util.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", LEFT, "left", self.work,
                             self.cgroup], check=False)
            raise AssertionError(f"{e}; left are:\n{left.out}{left.err}") from None


LEFT = """
mkdir -p "$1/cgroup" && mount -t cgroup2 none "$1/cgroup" && cd "$1/cgroup" &&
find "$2" -name cgroup.procs -exec cat {} + | while read -r pid; do
    echo "$pid $(cat "/proc/$pid/comm") $(grep State "/proc/$pid/status") $(head -3 "/proc/$pid/stack" | tr '\\n' ' ')"
done
"""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
