"""The root file system of the image, in namespaces: read-only, a user without rights, the connector."""

import http.client
import json
import pathlib
import re
import signal
import socket
import subprocess

import pytest

from harness import ACCESS, BIN_DIR, SECRET, TOP, util

USER = "65532"
RUN = r"""
set -e
root=$1
shift
mount --bind "$root" "$root"
cd "$root"
mount --bind "$root" . && mount -o remount,bind,ro "$root"
cd "$root"
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs dev
for x in null urandom; do : >"dev/$x"; mount --bind "/dev/$x" "dev/$x"; done
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=1777 tmpfs var/tmp
mount -t tmpfs -o mode=777 tmpfs var/run/asya/state
exec chroot --userspec="$USER:$USER" --groups= "$root" "$@"
"""
DOCKERFILE = TOP / "packaging" / "container" / "Dockerfile"


@pytest.fixture(scope="session")
def image():
    return util.run([TOP / "tools" / "container-root.sh", BIN_DIR]).out.strip()


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


@pytest.fixture
def container(image, bucket, guard):
    started = []

    def start(variant):
        env = {"STATE_BUCKET": bucket.bucket, "STATE_PREFIX": "p", "STATE_VARIANT": variant,
               "CONNECTOR_SOCKET": "/var/run/asya/state/x.sock", "AWS_ENDPOINT_URL": bucket.endpoint,
               "AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
        proc = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child=KILL",
             "--propagation", "private", "bash", "-c", RUN, "run", image, "/usr/sbin/stateproxyd"],
            env={**util.clean_env(), "USER": USER, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True)
        guard.watch_process(proc.pid)
        started.append(proc)
        lines = []
        for line in proc.stdout:
            lines.append(line)
            if b" ready " in line:
                return proc, util.children(proc.pid)[0]
        raise AssertionError(b"".join(lines).decode())

    yield start
    for proc in started:
        for pid in util.children(proc.pid):
            util.kill(pid)
        util.kill(proc.pid)
        proc.wait()
        proc.stdout.close()


def ask(pid, method, path, body=None):
    conn = UnixConnection(f"/proc/{pid}/root/var/run/asya/state/x.sock")
    conn.request(method, path, body)
    answer = conn.getresponse()
    data = answer.read()
    conn.close()
    return answer.status, data


@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"])
def test_connector(container, bucket, variant):
    proc, pid = container(variant)
    assert pathlib.Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()[:2] == [USER, USER]
    assert ask(pid, "GET", "/healthz")[0] == 200
    big = bytes(range(256)) * 40000             # 10 MB: more than is kept in memory
    assert ask(pid, "PUT", "/keys/big.bin", big)[0] == 204
    assert bucket.get("p/big.bin") == big
    assert ask(pid, "GET", "/keys/big.bin") == (200, big)
    assert json.loads(ask(pid, "GET", "/keys/?prefix=")[1])["keys"] == ["big.bin"]
    # the health check of the image
    check = json.loads(re.search(r"HEALTHCHECK .* CMD (\[.*\])", DOCKERFILE.read_text()).group(1))
    done = util.run(["nsenter", "-t", str(pid), "-m", "-p", "-r", "-w", "-S", USER, "-G", USER, *check],
                    env=util.clean_env())
    assert f"variant {variant}" in re.sub(" +", " ", done.out), done.out
    util.kill(pid, signal.SIGTERM)
    assert proc.wait(30) == 0


def test_image_has_no_shell_and_the_targets(image):
    assert not [p for p in ("bin/sh", "usr/bin/sh", "bin/bash") if (pathlib.Path(image) / p).exists()]
    targets = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE.read_text(), re.M)
    assert {"s3-buffered-lww", "s3-buffered-cas", "s3-passthrough", "mount"} <= set(targets)
    for variant in ("s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"):
        assert f"AS {variant}\nENV STATE_VARIANT={variant}\n" in DOCKERFILE.read_text()
