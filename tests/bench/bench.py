"""Memory, throughput, CPU and requests of a mount, beside curl on the same objects of the same
server. Run it by run.sh.

Server and mount run here, over loopback, and share the CPUs with whoever reads and writes: so the
figures to look at are the ratios to curl, the CPU seconds and the counts, not the MiB/s. Each
measurement is taken --runs times, mount and curl in turn, and the median is shown.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

import links                                            # noqa: E402
import locks                                            # noqa: E402
import peer                                             # noqa: E402
import report                                           # noqa: E402
import trips                                            # noqa: E402
import work                                             # noqa: E402
from cost import Others, memfds_of, pss_of              # noqa: E402
from harness import BIN_DIR, CTL, DAEMON, util          # noqa: E402
from harness.guard import Guard                         # noqa: E402
from harness.mount import Mount                         # noqa: E402
from harness.pattern import pattern                     # noqa: E402
from harness.s3 import S3                               # noqa: E402
from harness.server import S3Server, find_server        # noqa: E402

MIB = 1 << 20
SMALL = 4096
LARGE_FILES = ["a.bin", "b.bin", "c.bin"]
PARTS = ["memory", "read", "read3", "link", "write", "small", "hot", "ls", "trips", "locks"]
LIMIT = 1800            # seconds, of everything


def options():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--size", type=int, default=512, metavar="MIB", help="of a large file (512)")
    p.add_argument("--runs", type=int, default=3, help="of each measurement (3)")
    p.add_argument("--files", type=int, default=1000, help="small files of a run (1000)")
    p.add_argument("--names", type=int, default=5000, help="of the directory listed (5000)")
    p.add_argument("--workers", type=int, default=2, help="worker processes (2)")
    p.add_argument("--memory", default="128Mi", help="memory.limit of the daemon (128Mi)")
    p.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                   help="more environment for the daemon")
    p.add_argument("--only", metavar="PART,...", help="of: " + ", ".join(PARTS))
    p.add_argument("--strace", action="store_true", help="count system calls too")
    p.add_argument("--json", metavar="FILE", help="all figures, of every run")
    p.add_argument("--against", metavar="FILE", help="an earlier --json file to compare with")
    args = p.parse_args()
    args.only = args.only.split(",") if args.only else PARTS
    unknown = set(args.only) - set(PARTS)
    if unknown:
        p.error(f"no part {', '.join(unknown)}")
    args.set = dict(x.split("=", 1) for x in args.set)
    return args


class Bench:
    def __init__(self, args, guard, server, scratch):
        self.args, self.guard, self.server, self.scratch = args, guard, server, scratch
        self.s3 = S3(server.endpoint, "bench", server.root).create()
        self.curl = peer.Curl(self.s3, scratch)
        self.mounts = []
        self.source = scratch / "source"
        self.small = scratch / "small"

    # -- set-up

    def prepare(self):
        a = self.args
        say("preparing")
        if self.wants("memory", "read", "read3", "link", "write"):
            self.source.write_bytes(pattern(a.size * MIB))
        self.small.write_bytes(pattern(SMALL))
        if self.wants("memory", "read", "read3", "link"):
            for name in LARGE_FILES:
                self.curl.put("p/" + name, self.source)
        if self.wants("small"):
            self.s3.put_many((f"p/{n}", pattern(SMALL)) for run in range(a.runs)
                             for n in self.small_names(run))
        if self.wants("ls"):
            self.s3.put_many((f"p/names/{i:05d}.txt", b"x") for i in range(a.names))

    def wants(self, *parts):
        return bool(set(parts) & set(self.args.only))

    def small_names(self, run):
        return [f"small{run}/{i:04d}.bin" for i in range(self.args.files)]

    def mount(self, endpoint=None, **env):
        m = Mount(self.guard, self.s3.bucket, endpoint or self.server.endpoint,
                  workers=self.args.workers,
                  env={"STATEPROXY_MEMORY_LIMIT": self.args.memory, **env, **self.args.set})
        self.mounts.append(m)
        return m.start()

    def unmount(self, mount):
        self.mounts.remove(mount)
        mount.clean_up(failed=False)

    def close(self, failed):
        for m in list(self.mounts):
            self.mounts.remove(m)
            m.clean_up(failed)
        self.s3.remove()

    # -- measuring

    def in_turn(self, mount, ours, theirs):
        """Runs of both, in alternating order: {"mount": [...], "curl": [...], "others": share}."""
        out = {"mount": [], "curl": []}
        with Others([*mount.processes(), self.server.process.pid]) as others:
            for run in range(self.args.runs):
                sides = [("mount", ours), ("curl", lambda r: theirs(r).as_dict())]
                for name, side in sides if run % 2 else sides[::-1]:
                    out[name].append(side(run))
        out["others"] = others.share
        return out

    def memory(self):
        m = self.mount()
        time.sleep(2)
        out = {"idle": {"pss": {work.role_of(m, p): v for p, v in pss_of(m.processes()).items()},
                        "memfds": memfds_of(m.proc.pid), "cost": work.idle(m)}}
        out["peak"] = work.peaks(m, LARGE_FILES, self.source)
        work.check_read(m, LARGE_FILES[:1], self.source)
        work.check_written(self.s3, "p/written", self.source)
        out["after"] = {"pss": sum(pss_of(m.processes()).values()),
                        "memfds": memfds_of(m.proc.pid)}
        if self.args.strace:
            out["syscalls"] = work.syscalls(m, LARGE_FILES[0], self.source, self.scratch)
        self.unmount(m)
        return out

    def large(self, part):
        m = self.mount()
        # another file each time: the last one's blocks are still in the daemon
        def turn(run):
            return [LARGE_FILES[run % 3]] if part == "read" else LARGE_FILES
        if part == "write":
            out = self.in_turn(m, lambda run: work.write(m, ["written"], self.source),
                               lambda run: self.curl.put("p/put", self.source))
            work.check_written(self.s3, "p/written", self.source)
        else:
            out = self.in_turn(m, lambda run: work.read(m, turn(run)),
                               lambda run: self.curl.get(["p/" + n for n in turn(run)]))
        self.unmount(m)
        return out

    def small_files(self):
        m = self.mount()
        out = {"open+read": self.in_turn(
            m, lambda run: work.read_small(m, self.small_names(run), SMALL),
            lambda run: self.curl.get_many(["p/" + n for n in self.small_names(run)]))}
        out["create"] = self.creates(m, "new")
        self.unmount(m)
        # whether a name is there must be asked; not in a directory that was listed or made lately
        m = self.mount(STATEPROXY_DIRECTORIES_TTL="10m")
        out["create, known"] = self.creates(m, "known")
        self.unmount(m)
        return out

    def over_a_link(self):
        with links.Link(self.server.port, self.scratch) as link:
            def make():
                m = self.mount(link.endpoint)
                return m, lambda: self.unmount(m)
            far = peer.Curl(S3(link.endpoint, self.s3.bucket), self.scratch)
            return links.measure(far, "p/" + LARGE_FILES[0], self.args.size * MIB, make)

    def hot(self):
        """open + read + close of one small file within cache.open_ttl, beside a local one."""
        self.s3.put("p/hot.bin", pattern(SMALL))
        local = self.scratch / "hot.bin"
        local.write_bytes(pattern(SMALL))
        m = self.mount(STATEPROXY_CACHE_OPEN_TTL="1h")
        out = {"mount": work.open_again(m.path / "hot.bin", SMALL),
               "local disk": work.open_again(local, SMALL)}
        self.unmount(m)
        return out

    def creates(self, m, directory):
        def names(run, who):
            return [f"{directory}/{who}{run}-{i:04d}.bin" for i in range(self.args.files)]
        (m.path / directory).mkdir()
        data = self.small.read_bytes()
        return self.in_turn(
            m, lambda run: work.create_small(m, names(run, "m"), data),
            lambda run: self.curl.put_many(["p/" + n for n in names(run, "c")], self.small))

    def listings(self):
        out = {}
        for key, opts in (("ls", ["-U"]), ("ls -l", ["-l"])):
            out[key] = {"mount": [], "curl": []}
            for _ in range(self.args.runs):
                names, run = peer.list_pages(self.s3, "p/names/")
                assert names == self.args.names
                out[key]["curl"].append(run.as_dict())
                m = self.mount()
                out[key]["mount"].append(
                    work.list_directory(m, "names", opts, self.args.names))
                self.unmount(m)
        return out

    def round_trips(self):
        def make(endpoint):
            m = self.mount(endpoint)
            return m, lambda: self.unmount(m)
        return trips.measure(self.server.port, self.s3, self.scratch, make)

    def run(self):
        results = {}
        self.prepare()
        for part in self.args.only:
            say(part)
            if part in ("read", "read3", "write"):
                results[part] = self.large(part)
            elif part == "locks":
                results[part] = locks.measure(BIN_DIR, self.scratch)
            else:
                results[part] = {"memory": self.memory, "small": self.small_files,
                                 "link": self.over_a_link, "hot": self.hot,
                                 "ls": self.listings, "trips": self.round_trips}[part]()
        return results


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def machine(args):
    with open("/proc/loadavg") as f:
        load = f.read().split()[0]
    return {"cpus": os.cpu_count(), "kernel": platform.release(), "load_before": float(load),
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "settings": {k: v for k, v in vars(args).items() if k not in ("json", "against")}}


def check_machine(args, where):
    for program in (DAEMON, CTL):
        if not os.access(program, os.X_OK):
            sys.exit(f"bench: {program} is not built: tools/build.sh, or STATEPROXY_BIN_DIR")
    need, free = 7 * args.size * MIB, shutil.disk_usage(where).free
    if free < need:
        sys.exit(f"bench: {need >> 20} MiB are needed in {where}, {free >> 20} are free: --size")


def measure(args, guard):
    server = S3Server(find_server(), guard)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="sp-bench-", dir=server.dir))
    bench = failed = None
    try:
        check_machine(args, server.dir)
        server.start()
        bench = Bench(args, guard, server, scratch)
        failed = True
        results = bench.run()
        failed = False
        return results
    finally:
        if bench:
            bench.close(failed)
        server.remove()


def main():
    args = options()
    about = machine(args)
    guard = Guard()
    try:
        guard.arm(LIMIT, "the bench")
        results = {"machine": about, **measure(args, guard)}
        if guard.disarm():
            sys.exit("bench: stuck; its mounts were aborted")
    finally:
        guard.close()
    report.show(results, args.size * MIB, args.files)
    if args.against:
        with open(args.against) as f:
            report.compare(json.load(f), results)
    if args.json:
        with open(args.json, "w") as f:
            json.dump(results, f, indent=1)


if __name__ == "__main__":
    main()
