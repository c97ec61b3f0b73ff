"""Large files through this mount, through curl, and through other programs that mount a bucket: the same objects of the
same server, in the same run, one after the other. Run it by run.sh --peers.

PEERS names the programs, by paths with colons or spaces between: mount-s3 (Mountpoint), s3fs, geesefs, goofys, rclone;
what each is mounted with is in MOUNTS. With --cgroup another daemon of ours runs in a memory cgroup of that size.

Server and mounts run here and share the CPUs: look at ratios and CPU seconds. The median of --runs is shown.
"""

import argparse
import contextlib
import os
import pathlib
import random
import re
import statistics
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

import peer                                             # noqa: E402
import work                                             # noqa: E402
from harness import ACCESS, REGION, SECRET, util        # noqa: E402
from harness.cgroup import Cgroup, parse_bytes          # noqa: E402
from harness.guard import Guard                         # noqa: E402
from harness.mount import Mount                         # noqa: E402
from harness.pattern import pattern                     # noqa: E402
from harness.s3 import S3                               # noqa: E402
from harness.server import S3Server, find_server        # noqa: E402

MIB = 1 << 20
TICKS = os.sysconf("SC_CLK_TCK")
FILES = ["a.bin", "b.bin", "c.bin", "d.bin"]
RANDOM = {"random 4 KiB": (4096, 200), "random 1 MiB": (MIB, 40)}   # bytes of each read, how many
CONNECTIONS = 8
LIMIT = 3600            # seconds, of everything

# {endpoint}, {bucket}, {path}, {keys} (a file with KEY:SECRET), {cache}. rclone answers fsync and close before S3 has the
# file.
MOUNTS = {
    "mount-s3": "{program} {bucket} {path} --endpoint-url {endpoint} --force-path-style --prefix p/ --allow-delete "
                "--allow-overwrite --foreground",
    "s3fs": "{program} {bucket}:/p {path} -f -o url={endpoint} -o use_path_request_style -o passwd_file={keys} "
            "-o endpoint=" + REGION,
    "geesefs": "{program} -f --endpoint {endpoint} --region " + REGION + " {bucket}:p {path}",
    "goofys": "{program} -f --endpoint {endpoint} --region " + REGION + " {bucket}:p {path}",
    "rclone": "{program} mount :s3:{bucket}/p {path} --s3-provider Other --s3-endpoint {endpoint} --s3-env-auth "
              "--s3-region " + REGION + " --s3-force-path-style --vfs-cache-mode writes --cache-dir {cache}",
}


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--size", type=int, default=256, metavar="MIB", help="of a file (256)")
    p.add_argument("--runs", type=int, default=3, help="of each measurement (3)")
    p.add_argument("--memory", default="128Mi", help="memory.limit of the daemon (128Mi)")
    p.add_argument("--cgroup", metavar="SIZE", help="another daemon in a memory cgroup, as 64Mi; as root")
    args = p.parse_args()
    args.peers = [pathlib.Path(x) for x in re.split(r"[:\s]+", os.environ.get("PEERS", "")) if x]
    for program in args.peers:
        if not os.access(program, os.X_OK) or program.name not in MOUNTS:
            p.error(f"PEERS: {program} is none of {', '.join(MOUNTS)}, or cannot be run")
    return args


def cpu_of(pids):
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / TICKS


def peak_of(pids):
    """The sum of what each process had at most in memory; shared pages are counted for each."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            found = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())
            total += int(found.group(1)) * 1024 if found else 0
    return total


def places(seed, size, length, times):
    draw = random.Random(seed)
    return [draw.randrange(size // length) * length for _ in range(times)]


# -- who is measured: `name`, and each piece of work returns (seconds, CPU seconds)


class Mounted:
    """`path`: where; `pids()`: of its processes."""

    def timed(self, what, *args):
        cpu, start = cpu_of(self.pids()), time.monotonic()
        what(*args)
        return time.monotonic() - start, cpu_of(self.pids()) - cpu

    def read(self, names):
        paths = [self.path / n for n in names]
        for path in paths:
            work.forget_pages(path)
        return self.timed(work.read_whole, paths)

    def write(self, source):
        def copy():
            util.finish(work.dd(f"if={source}", f"of={self.path / 'written'}", "conv=fsync"), 600)
        return self.timed(copy)

    def read_at(self, name, offsets, length):
        work.forget_pages(self.path / name)
        fd = os.open(self.path / name, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)

        def read():
            for off in offsets:
                assert len(os.pread(fd, length, off)) == length
        try:
            return self.timed(read)
        finally:
            os.close(fd)

    def peak(self):
        return peak_of(self.pids())


class Ours(Mounted):
    def __init__(self, name, guard, s3, memory, cgroup=None):
        self.name = name
        env = {"STATEPROXY_MEMORY_LIMIT": memory} if not cgroup else {}     # (the cgroup tells)
        self.mount = Mount(guard, s3.bucket, s3.endpoint, env=env)
        self.group = self.mount.group = Cgroup(parse_bytes(cgroup)) if cgroup else None
        self.path = self.mount.start().path

    def pids(self):
        return self.mount.processes()

    def peak(self):
        return self.group.peak() if self.group else super().peak()

    def stop(self, failed):
        self.mount.clean_up(failed)


class Peer(Mounted):
    def __init__(self, program, s3, scratch):
        self.name = program.name
        self.path = scratch / f"{self.name}.mnt"
        self.path.mkdir()
        keys, cache, self.log = (scratch / f"{self.name}.{x}" for x in ("keys", "cache", "log"))
        keys.touch(0o600)
        keys.write_text(f"{ACCESS}:{SECRET}")
        command = MOUNTS[self.name].format(program=program, bucket=s3.bucket, endpoint=s3.endpoint, path=self.path,
                                           keys=keys, cache=cache).split()
        with open(self.log, "wb") as log:
            self.proc = util.spawn(command, stdout=log, stderr=log, env=util.clean_env(
                AWS_ACCESS_KEY_ID=ACCESS, AWS_SECRET_ACCESS_KEY=SECRET, AWS_REGION=REGION))
        try:
            util.wait_until(lambda: self.proc.poll() is not None or util.mount_entry(self.path), 30, self.name)
            if self.proc.poll() is not None:
                raise RuntimeError(f"{self.name} has ended: {self.log.read_text(errors='replace')}")
        except BaseException:
            self.stop(True)
            raise

    def pids(self):
        return [self.proc.pid]

    def stop(self, failed):
        util.unmount(self.path)
        self.proc.terminate()
        self.proc.wait()


class Curls:
    """curl with as many connections at once, each with a range or a part."""

    def __init__(self, curl, size, connections):
        self.curl, self.size, self.connections = curl, size, connections
        self.name = f"curl, {connections} connection{'s' if connections > 1 else ''}"

    def pieces(self):
        step = -(-self.size // self.connections)
        return [(at, min(step, self.size - at)) for at in range(0, self.size, step)]

    @staticmethod
    def of(run):
        return run.seconds, run.cpu_s

    def read(self, names):
        return self.of(self.curl.run([[*peer.OPTIONS, "-o", "/dev/null", "-r", f"{at}-{at + n - 1}",
                                       self.curl.url("get_object", "p/" + name)]
                                      for name in names for at, n in self.pieces()]))

    def write(self, source):
        if self.connections == 1:
            return self.of(self.curl.put("p/put", source))
        return self.of(self.curl.put_parts("p/put", source, self.pieces()))

    def read_at(self, name, offsets, length):
        return self.of(self.curl.get_ranges("p/" + name, [(off, length) for off in offsets]))

    def peak(self):
        return 0

    def stop(self, failed):
        pass


# -- the run


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def measure(args, guard, contenders, source):
    size = args.size * MIB
    works = {"read 1 file": (size, lambda c, run: c.read([FILES[run % 4]])),
             "read 4 files at once": (4 * size, lambda c, run: c.read(FILES)),
             "write + fsync": (size, lambda c, run: c.write(source))}
    for name, (length, times) in RANDOM.items():
        works[name] = length * times, lambda c, run, length=length, times=times: c.read_at(
            FILES[run % 4], places(f"{run} {length}", size, length, times), length)
    out = {}
    for name, (total, do) in works.items():
        say(name)
        taken = {c.name: [] for c in contenders}
        for run in range(args.runs):
            for c in contenders if run % 2 else contenders[::-1]:
                taken[c.name].append(do(c, run))
        out[name] = {who: (total / MIB / statistics.median(s for s, _ in runs),
                           statistics.median(cpu for _, cpu in runs) * 1024 * MIB / total)
                     for who, runs in taken.items()}
    return out


def show(args, results, contenders):
    with open("/proc/loadavg") as f:
        load = f.read().split()[0]
    print(f"{os.cpu_count()} CPUs, shared with server and programs; load afterwards: {load}; {args.size} MiB a file\n"
          "MiB/s (CPU s/GiB)")
    for work_name, by in results.items():
        print(f"\n{work_name}")
        ours = by["stateproxy"][0]
        for who, (rate, cpu) in by.items():
            print(f"  {who:<28}{rate:9.1f}  ({cpu:.2f})   {rate / ours:.2f} of ours")
    print("\nMEMORY at most, MiB")
    for c in contenders:
        if c.peak():
            print(f"  {c.name:<28}{c.peak() / MIB:9.1f}")


def run(args, guard, server, scratch):
    s3 = S3(server.endpoint, "bench", server.root).create()
    curl, source = peer.Curl(s3, scratch), scratch / "source"
    contenders = []
    failed = True
    try:
        say("preparing")
        source.write_bytes(pattern(args.size * MIB))
        for name in FILES:
            curl.put("p/" + name, source)
        contenders.append(Ours("stateproxy", guard, s3, args.memory))
        if args.cgroup:
            contenders.append(Ours(f"stateproxy in {args.cgroup}", guard, s3, args.memory, args.cgroup))
        contenders += [Curls(curl, args.size * MIB, n) for n in (1, CONNECTIONS)]
        s3.put("p/")            # (s3fs wants a directory)
        for program in args.peers:
            contenders.append(Peer(program, s3, scratch))
        results = measure(args, guard, contenders, source)
        work.check_written(s3, "p/written", source)
        work.check_written(s3, "p/put", source)
        show(args, results, contenders)
        failed = False
    finally:
        for c in contenders:
            c.stop(failed)
        s3.remove()


def main():
    args, guard = options(), Guard()
    try:
        guard.arm(LIMIT, "the bench")
        server = S3Server(find_server(), guard)
        try:
            server.start()
            run(args, guard, server, pathlib.Path(tempfile.mkdtemp(prefix="sp-bench-", dir=server.dir)))
        finally:
            server.remove()
        if guard.disarm():
            sys.exit("bench: stuck; its mounts were aborted")
    finally:
        guard.close()


if __name__ == "__main__":
    main()
