"""Runs pjdfstest, or s3fs's own integration tests, against a mount. Run it by run.sh."""

import argparse
import collections
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

from harness import ACCESS, DAEMON, REGION, SECRET, surroundings     # noqa: E402
from harness.guard import Guard                                     # noqa: E402
from harness.mount import Mount                                     # noqa: E402
from harness.s3 import S3                                           # noqa: E402
from harness.server import MinioServer, S3Server, find_minio, find_server    # noqa: E402

FILE_LIMIT = 900        # seconds for one file of pjdfstest
SUITE_LIMIT = 7200      # seconds for all of s3fs's tests
BUCKET = "suite"

# A line of the Test Anything Protocol
RESULT = re.compile(r"(not )?ok (\d+)(.*)")


def options():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("suite", choices=["pjdfstest", "s3fs"])
    p.add_argument("source", help="a folder, or what git can clone")
    p.add_argument("--pjdfstest", metavar="SOURCE", help="of pjdfstest, which s3fs's tests use")
    p.add_argument("--variant", default="s3-buffered-lww", help="(s3-buffered-lww)")
    p.add_argument("--server", choices=["versitygw", "minio"], default="versitygw",
                   help="the S3 server (versitygw)")
    p.add_argument("--only", metavar="PART,...", help="pjdfstest: of its folders, or folder/file "
                   "without .t; s3fs: of its tests, by name")
    p.add_argument("--type", default="FUSE.S3FS", help="pjdfstest: the file system that it takes the "
                   "mount for (FUSE.S3FS: one without hard links)")
    p.add_argument("--jobs", type=int, default=2, help="files of pjdfstest side by side (2)")
    p.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                   help="more environment for the daemon")
    p.add_argument("--output", metavar="FILE", help="everything that the suite prints")
    args = p.parse_args()
    args.set = dict(x.split("=", 1) for x in args.set)
    args.only = args.only.split(",") if args.only else []
    return args


# -- sources

def take_source(source, to):
    """A copy of the project's files at `to`, whatever was built among them left out."""
    if os.path.isdir(source) and not os.path.isdir(os.path.join(source, ".git")):
        shutil.copytree(source, to, symlinks=True)
    else:
        subprocess.run(["git", "clone", "--quiet", source, str(to)], check=True)
    return to


def quietly(*command, cwd):
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}")


def build_pjdfstest(path, kind):
    for command in (["autoreconf", "-ifs"], ["./configure"], ["make"]):
        quietly(*command, cwd=path)
    with open(path / "tests" / "conf", "a") as conf:
        conf.write(f'fs="{kind}"\n')


def build_s3fs_tools(path):
    """The small programs that its tests call; s3fs itself is not built."""
    for source in sorted(path.glob("*.cc")):
        quietly("c++", "-O1", "-o", source.stem, source.name, cwd=path)


# -- pjdfstest

def short(text):
    """Names of hundreds of bytes are hexadecimal digits that say nothing."""
    return re.sub(r"[0-9a-f]{64,}(/[0-9a-f]{64,})*", "LONG", text)


class File:
    """What a file of pjdfstest printed."""

    def __init__(self, name, text):
        self.name, self.text = name, text
        self.ok, self.failed = 0, []
        plan = re.search(r"^1\.\.(\d+)", text, re.MULTILINE)
        for line in text.splitlines():
            result = RESULT.match(line)
            if result and result[1] and "# TODO" not in line:
                self.failed.append(f"{name} {result[2]}{short(result[3])}")
            elif result:
                self.ok += 1
        missing = (int(plan[1]) if plan else 1) - self.ok - len(self.failed)
        if missing > 0:
            self.failed += [f"{name} - never came to it"] * missing


def run_file(path, where):
    where.mkdir(mode=0o755)
    try:
        done = subprocess.run(["sh", str(path)], cwd=where, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", timeout=FILE_LIMIT)
        return done.stdout
    except subprocess.TimeoutExpired as e:
        return (e.stdout or b"").decode(errors="replace") + "\ntime is over\n"


def run_pjdfstest(args, scratch, start):
    source = take_source(args.source, scratch / "pjdfstest")
    build_pjdfstest(source, args.type)
    mount = start(scratch / "mnt")
    files = [f for f in sorted((source / "tests").rglob("*.t")) if wanted(args, source, f)]

    def one(numbered):
        number, path = numbered
        name = str(path.relative_to(source / "tests"))
        return File(name, run_file(path, mount.path / f"run{number}"))

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        done = list(pool.map(one, enumerate(files)))
    report_files(done)
    return "".join(f"== {f.name}\n{f.text}" for f in done), any(f.failed for f in done)


def wanted(args, source, path):
    name = path.relative_to(source / "tests").with_suffix("")
    return not args.only or str(name) in args.only or str(name.parts[0]) in args.only


def report_files(files):
    """Each failure, then how many a folder has."""
    folders = collections.OrderedDict()
    for f in files:
        ran, failed = folders.get(f.name.split("/")[0], (0, 0))
        folders[f.name.split("/")[0]] = (ran + f.ok + len(f.failed), failed + len(f.failed))
        print("\n".join(f.failed + [""] if f.failed else []), end="")
    for name, (ran, failed) in folders.items():
        print(f"{name:20} {ran:6} assertions {failed:6} failed")
    total = sum(len(f.failed) for f in files)
    print(f"{len(files)} files, {sum(f.ok for f in files) + total} assertions, {total} failed")


# -- s3fs

# What s3fs has by default, and its tests expect
S3FS_DEFAULTS = {"STATEPROXY_MOUNT_DIR_MODE": "0750"}

# Its helpers leave the hash of the body out, which older releases of curl do not send, and S3 asks for.
CURL = """#!/bin/sh
case " $* " in
*" --aws-sigv4 "*) exec {curl} --header "x-amz-content-sha256: UNSIGNED-PAYLOAD" "$@" ;;
*) exec {curl} "$@" ;;
esac
"""


def put_curl(directory):
    """A curl that S3 understands, first on the PATH of the suite. Returns that PATH."""
    directory.mkdir()
    (directory / "curl").write_text(CURL.format(curl=shutil.which("curl")))
    (directory / "curl").chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


def run_s3fs(args, scratch, start):
    tests = take_source(args.source, scratch / "s3fs") / "test"
    build_s3fs_tools(tests)
    if args.pjdfstest:
        build_pjdfstest(take_source(args.pjdfstest, tests / "pjdfstest"), args.type)
    (tests / BUCKET).mkdir()
    mount = start(tests / BUCKET)
    if args.only:
        choose_s3fs_tests(tests, args.only)
    env = dict(os.environ, PATH=put_curl(scratch / "bin"), S3_URL=mount.server, S3_ENDPOINT=REGION, TEST_BUCKET_1=BUCKET,
               TEST_BUCKET_MOUNT_POINT_1=str(tests / BUCKET), AWS_ACCESS_KEY_ID=ACCESS,
               AWS_SECRET_ACCESS_KEY=SECRET, S3FS_PID=str(mount.proc.pid),
               CACHE_DIR=str(scratch), S3PROXY_CACERT_FILE="/etc/ssl/certs/ca-certificates.crt")
    done = subprocess.run(["bash", "./integration-test-main.sh"], cwd=tests, env=env,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace",
                          timeout=SUITE_LIMIT)
    for line in done.stdout.splitlines():
        if line.startswith(("FAIL: ", "SUMMARY ")):
            print(line)
    return done.stdout, done.returncode != 0


def choose_s3fs_tests(tests, names):
    """Its list of tests is a function; another of the same name takes its place."""
    main = tests / "integration-test-main.sh"
    text = main.read_text()
    chosen = "function add_all_tests { add_tests " + " ".join(names) + "; }\n"
    main.write_text(text.replace("\ninit_suite\n", "\n" + chosen + "init_suite\n"))


# -- the mount

def start_server(args, guard):
    kind, find = {"versitygw": (S3Server, find_server),
                  "minio": (MinioServer, find_minio)}[args.server]
    binary = find()
    if not binary:
        sys.exit(f"no {args.server}: tools/s3server.sh get {args.server}")
    return kind(binary, guard).start()


def run(args, guard, server, scratch):
    mounts = []

    def start(mountpoint):
        mountpoint.mkdir(exist_ok=True)
        env = {"STATEPROXY_MOUNT_ALLOW_OTHER": "true", **(S3FS_DEFAULTS if args.suite == "s3fs" else {}),
               **args.set}
        mount = Mount(guard, BUCKET, server.endpoint, prefix="", variant=args.variant,
                      mountpoint=mountpoint, env=env, server=server.endpoint)
        mounts.append(mount)
        return mount.start()

    S3(server.endpoint, BUCKET, server.root).create()
    try:
        text, failed = {"pjdfstest": run_pjdfstest, "s3fs": run_s3fs}[args.suite](
            args, scratch, start)
        for mount in mounts:
            mount.check()
            mount.stop()
        if args.output:
            pathlib.Path(args.output).write_text(text)
        return int(failed)
    finally:
        for mount in mounts:
            mount.clean_up(failed=True)


def main():
    args = options()
    if os.geteuid() != 0:
        sys.exit("these suites have to be run by root: they change to other users")
    if not os.access(DAEMON, os.X_OK):
        sys.exit(f"{DAEMON} is not built")
    surroundings.settle()
    guard = Guard()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="sp-suite-"))
    os.chmod(scratch, 0o755)        # other users come through it
    guard.directory(scratch)
    server = None
    try:
        server = start_server(args, guard)
        return run(args, guard, server, scratch)
    finally:
        if server:
            server.remove()
        shutil.rmtree(scratch, ignore_errors=True)
        guard.close()


if __name__ == "__main__":
    sys.exit(main())
