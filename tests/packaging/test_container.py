"""The root file system of the image, in namespaces: read-only, a user without rights, the connector."""

import http.client
import json
import pathlib
import re
import signal
import socket

import pytest

from conftest import USER
from harness import ACCESS, SECRET, TOP, util

SOCKET = "/var/run/asya/state/x.sock"
DOCKERFILE = TOP / "packaging" / "container" / "Dockerfile"


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def ask(pid, method, path, body=None, where=SOCKET):
    conn = UnixConnection(f"/proc/{pid}/root{where}")
    conn.request(method, path, body)
    answer = conn.getresponse()
    data = answer.read()
    conn.close()
    return answer.status, data


@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"])
def test_connector(container, bucket, variant):
    proc, pid = container({
        "STATE_BUCKET": bucket.bucket, "STATE_PREFIX": "p", "STATE_VARIANT": variant, "CONNECTOR_SOCKET": SOCKET,
        "AWS_ENDPOINT_URL": bucket.endpoint, "AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET})
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
