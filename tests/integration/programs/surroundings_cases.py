"""Tests that test_surroundings.py has a pytest of its own run, started by somebody hostile. They are to find everything as
it always is."""

import json
import os
import signal
import sys

import pytest

from harness import util

# How a program finds itself.
LOOK = """
import json, os, resource, sys
seen = {}
for line in open("/proc/self/status"):
    name, _, value = line.strip().partition(":\\t")
    seen[name] = value
for name in "RLIMIT_NOFILE", "RLIMIT_CORE", "RLIMIT_FSIZE":
    seen[name] = resource.getrlimit(getattr(resource, name))[0]
fds = [int(fd) for fd in os.listdir("/proc/self/fd")]
seen["descriptors"] = [fd for fd in fds if fd > 2 and os.path.exists(f"/proc/self/fd/{fd}")]
seen["environment"] = dict(os.environ)
json.dump(seen, sys.stdout)
"""


def signals(mask):
    """Those in a mask of /proc/PID/status."""
    bits = int(mask, 16)
    return {sig for sig in signal.valid_signals() if bits >> (sig - 1) & 1}


def look(**kwargs):
    return json.loads(util.finish(util.spawn([sys.executable, "-I", "-S", "-c", LOOK], **kwargs)).out)


def test_signals_of_a_program():
    seen = look()
    assert signals(seen["SigBlk"]) == set()
    assert signals(seen["SigIgn"]) <= {signal.SIGPIPE, signal.SIGXFSZ}, "Python ignores these by itself"


@pytest.mark.parametrize("name", ["SIGINT", "SIGQUIT", "SIGHUP", "SIGTERM", "SIGPIPE"])
def test_a_signal_ends_a_program(name):
    sig = getattr(signal, name)
    program = util.spawn(["sleep", "100"])
    util.wait_until(lambda: os.readlink(f"/proc/{program.pid}/exe").endswith("sleep"), what="the start of sleep")
    program.send_signal(sig)
    assert util.finish(program, check=False).code == -sig


def test_what_a_program_inherits():
    seen = look(close_fds=False)
    assert seen["Umask"] == "0022"
    assert seen["descriptors"] == []
    assert seen["RLIMIT_NOFILE"] >= 1024
    assert seen["RLIMIT_CORE"] == 0
    assert seen["RLIMIT_FSIZE"] < 0 or seen["RLIMIT_FSIZE"] >= 1 << 30
    environment = seen["environment"]
    assert environment["LC_ALL"] == "C.UTF-8" and environment["TZ"] == "UTC"
    assert not {"LANG", "LC_TIME", "AWS_PROFILE", "STATE_BUCKET", "https_proxy"} & set(environment)


def test_a_time_and_a_name_are_what_they_always_are():
    assert util.run(["date", "-d", "@0", "+%H %A"]).out == "00 Thursday\n"
    assert util.run(["sh", "-c", "printf '\\303\\244' | wc -m"]).out.strip() == "1"


def test_a_mount_serves(mount, bucket):
    m = mount()
    (m.path / "f.txt").write_text("content")
    assert bucket.get(m.key("f.txt")) == b"content"
    with open(f"/proc/{m.proc.pid}/environ", "rb") as f:
        assert b"TZ=UTC" in f.read().split(b"\0")
