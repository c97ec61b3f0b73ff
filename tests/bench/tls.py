"""What HTTPS costs, and plain HTTP beside it: one program, tls_client.c, linked with the private
libcurl and with the machine's (OpenSSL), and a mount, all against versitygw. Each figure is the
median of --runs runs, in turn; CPU is of the client alone, in seconds per GiB. "to curl": the mount
beside the machine's curl, less CPU and more speed being better.

    tests/bench/run.sh --tls [--size MIB] [--runs N] [--deps DIR ...]

--deps adds another build of tools/deps.sh, such as one of before a change."""

import argparse
import http.client
import pathlib
import ssl
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

import boto3                                            # noqa: E402
import botocore.config                                  # noqa: E402

import work                                             # noqa: E402
from harness import ACCESS, REGION, SECRET, TOP, util   # noqa: E402
from harness.guard import Guard                         # noqa: E402
from harness.mount import Mount                         # noqa: E402
from harness.pattern import pattern                     # noqa: E402
from harness.server import S3Server, find_server        # noqa: E402
from harness.tls import Authority                       # noqa: E402

MIB, GIB = 1 << 20, 1 << 30
BUCKET = "bench-tls"
LIMIT = 1800
THEIRS, MOUNT, MANY = "the machine's curl", "mount", 8
# as s3_tls.c asks for them where the CPU has AES
CIPHERS = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"


class TlsServer(S3Server):
    def __init__(self, guard, cert, key):
        super().__init__(find_server(), guard, ["--cert", cert, "--key", key])

    def _wait_answer(self):
        def answers():
            try:
                conn = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=5,
                                                   context=ssl._create_unverified_context())
                conn.request("GET", "/")
                return conn.getresponse().status
            except OSError:
                return None
        return util.wait_until(answers, self.start_seconds, "the answer of the server")

    @property
    def endpoint(self):
        return f"https://127.0.0.1:{self.port}"


def build(where, name, deps):
    """tls_client with the libcurl of `deps`, or (None) with the machine's."""
    out, newest = where / name, TOP / ".deps"
    libs = [f"-L{deps}/lib", *(deps / "libs").read_text().split()] if deps else \
        ["-l:libcurl.so.4"]
    subprocess.run(["cc", "-O2", "-DCURL_DISABLE_TYPECHECK", f"-I{deps or newest}/include",
                    HERE / "tls_client.c", "-o", out, *libs], check=True)
    return out


class Client:
    def __init__(self, program, ca, ciphers):
        self.program, self.ca, self.ciphers, self.library = program, ca, ciphers, "?"

    def __call__(self, urls, source=""):
        done = util.run([self.program, self.ca, source, self.ciphers, *urls], 60)
        size, seconds, cpu, _, self.library = done.out.split()
        return int(size), float(seconds), float(cpu)


class Mounted:
    """A mount as a client: names in place of URLs."""

    def __init__(self, guard, endpoint, ca):
        self.mount = Mount(guard, BUCKET, endpoint, env={"AWS_CA_BUNDLE": ca})

    def __call__(self, names, source=""):
        done = work.write(self.mount, names, source) if source else work.read(self.mount, names)
        size = sum((self.mount.path / n).stat().st_size for n in names)
        return size, done["seconds"], done["cpu_s"]


def measure(cases, runs):
    """{case: {side: (CPU s/GiB, MiB/s)}}"""
    got = {case: {side: [] for side in sides} for case, sides in cases.items()}
    for _ in range(runs):
        for case, sides in cases.items():
            for side, run_once in sides.items():
                if side not in got[case]:
                    continue
                try:
                    got[case][side].append(run_once())
                except AssertionError as e:     # curl 8.22 unpatched does not end with uploads
                    print(f"{case}, {side}: {str(e).splitlines()[0]}", file=sys.stderr)
                    del got[case][side]
    return {case: {side: (statistics.median(cpu * GIB / n for n, _, cpu in r),
                          statistics.median(n / s / MIB for n, s, _ in r))
                   for side, r in sides.items()} for case, sides in got.items()}


def show(results):
    sides = list(dict.fromkeys(s for figures in results.values() for s in figures))
    print("| | " + " | ".join(f"{s}: CPU s/GiB, MiB/s" for s in sides) + " | to curl: CPU, MiB/s |")
    print("| --- |" + " --- |" * (len(sides) + 1))
    for case, figures in results.items():
        cells = ["%.2f, %.0f" % figures[s] if s in figures else "" for s in sides]
        both = [figures.get(s) for s in (MOUNT, THEIRS)]
        cells.append("%.2f, %.2f" % tuple(a / b for a, b in zip(*both)) if all(both) else "")
        print(f"| {case} | " + " | ".join(cells) + " |")


def prepare(s3, scratch, size):
    """The files that are sent, for one stream and for MANY, and the same as objects."""
    whole, part = scratch / "whole", scratch / "part"
    whole.write_bytes(pattern(size))
    part.write_bytes(pattern(size // MANY))
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="p/whole", Body=whole.read_bytes())
    for i in range(MANY):
        s3.put_object(Bucket=BUCKET, Key=f"p/part{i}", Body=part.read_bytes())
    return whole, part


def cases_of(scheme, s3, clients, mounted, sources):
    """{case: {side: a function that does it once}}"""
    def url(action, name):
        return s3.generate_presigned_url(action, Params={"Bucket": BUCKET, "Key": "p/" + name},
                                         ExpiresIn=86400)
    out = {}
    for action, verb, prefix in (("get_object", "GET", ""), ("put_object", "PUT", "new-")):
        for source, names in zip(sources, (["whole"], [f"part{i}" for i in range(MANY)])):
            names, body = [prefix + n for n in names], source if prefix else ""
            urls = [url(action, n) for n in names]
            sides = {n: (lambda c=c, u=urls, b=body: c(u, b)) for n, c in clients.items()}
            if mounted:
                sides[MOUNT] = lambda n=names, b=body: mounted(n, b)
            out[f"{scheme}, {verb}, {len(names)} stream{'s' * (len(names) > 1)}"] = sides
    return out


def run(args, guard, scratch):
    authority, mounts, cases = Authority(scratch), [], {}
    servers = {"HTTPS": TlsServer(guard, *authority.issue("127.0.0.1")),
               "HTTP": S3Server(find_server(), guard)}
    clients = {THEIRS: Client(build(scratch, "theirs", None), authority.path, ""),
               ".deps": Client(build(scratch, "ours", TOP / ".deps"), authority.path, CIPHERS)}
    for i, deps in enumerate(args.deps):
        clients[deps] = Client(build(scratch, f"other{i}", pathlib.Path(deps)), authority.path,
                               CIPHERS)
    try:
        for scheme, server in servers.items():
            server.start()
            s3 = boto3.client("s3", endpoint_url=server.endpoint, region_name=REGION,
                              aws_access_key_id=ACCESS, aws_secret_access_key=SECRET,
                              verify=str(authority.path),
                              config=botocore.config.Config(signature_version="s3v4",
                                                            s3={"addressing_style": "path"}))
            sources = prepare(s3, scratch, args.size * MIB)
            mounted = None
            if not args.no_mount:
                mounted = Mounted(guard, server.endpoint, authority.path)
                mounts.append(mounted.mount)
                mounted.mount.start()
            cases.update(cases_of(scheme, s3, clients, mounted, sources))
        results = measure(cases, args.runs)
        print(", ".join(f"{n}: {c.library}" for n, c in clients.items()))
        show(results)
        while mounts:
            mounts.pop().clean_up(False)
    finally:
        for m in mounts:
            m.clean_up(True)
        for server in servers.values():
            server.remove()


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--size", type=int, default=512, metavar="MIB")
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--deps", action="append", default=[], metavar="DIR")
    p.add_argument("--no-mount", action="store_true")
    args = p.parse_args()
    guard = Guard()
    try:
        guard.arm(LIMIT, "the bench")
        with tempfile.TemporaryDirectory(prefix="sp-tls-") as scratch:
            run(args, guard, pathlib.Path(scratch))
        guard.disarm()
    finally:
        guard.close()


if __name__ == "__main__":
    main()
