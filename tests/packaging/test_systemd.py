"""The unit under a real systemd, which boots as process 1 of a box."""

import re

import pytest

from conftest import give_credentials, install
from harness import ACCESS, SECRET, util
from test_deb import begin_writing, end_writing, options

SANDBOX = re.compile(r"sandbox=\w+|unrestricted=.*")


@pytest.fixture
def machine(booted, deb):
    install(booted, deb)
    give_credentials(booted)
    booted.path("/mnt/x").mkdir()
    return booted


def configure(machine, bucket):
    machine.path("/etc/stateproxy/x.yaml").write_text(
        f"bucket: {bucket.bucket}\nprefix: p\ns3:\n  endpoint: {bucket.endpoint}\n"
        "mount:\n  path: /mnt/x\n")
    env = machine.path("/etc/stateproxy/x.env")
    env.write_text(f"AWS_ACCESS_KEY_ID={ACCESS}\nAWS_SECRET_ACCESS_KEY={SECRET}\n")
    env.chmod(0o600)


def show(machine, what, unit="stateproxy@x"):
    return machine.run(["systemctl", "show", "-P", what, unit]).out.strip()


def journal(machine):
    return machine.run("journalctl --no-pager -u stateproxy@x", check=False).out


def start(machine):
    done = machine.run("systemctl start stateproxy@x", check=False)
    assert done.code == 0, journal(machine)


@pytest.mark.timeout(180)
def test_service(machine, bucket):
    configure(machine, bucket)
    start(machine)
    # it is started when it serves, and the mount is seen by the whole machine
    machine.run("echo hello >/mnt/x/a.txt")
    assert bucket.get("p/a.txt") == b"hello\n"
    assert show(machine, "StatusText")
    # the unit takes nothing away that the daemon's own sandbox needs
    machine.path("/mnt/y").mkdir()
    said = machine.run(["mount.stateproxy", "-v", f"{bucket.bucket}/p", "/mnt/y", "-o", options(bucket)]).err
    assert SANDBOX.findall(journal(machine)) == SANDBOX.findall(said), journal(machine) + said
    machine.run(["umount", "/mnt/y"])
    user = machine.run("ps -o user= -C stateproxyd | sort | uniq -c").out
    assert "stateproxy" in user.replace("stateproxyd", ""), user        # its workers
    assert "refuses a system call" not in journal(machine)
    machine.run("systemctl reload stateproxy@x")
    util.wait_until(lambda: "SIGHUP: log.level" in journal(machine), 20, "the reload", every=0.1)

    # it comes back after a death of all its processes, and goes on with what systemd has kept
    pid = int(show(machine, "MainPID"))
    util.wait_until(lambda: int(show(machine, "NFileDescriptorStore")) > 100, 20, "the store", every=0.1)
    writer = begin_writing(machine)
    machine.run("systemctl kill -s KILL stateproxy@x")
    util.wait_until(lambda: show(machine, "MainPID") not in ("0", str(pid)) and
                    show(machine, "ActiveState") == "active", 30, "the restart", every=0.1)
    assert machine.run("cat /mnt/x/a.txt").out == "hello\n"
    assert len(machine.mounts()) == 1 and "taken over, all processes are there" in journal(machine), journal(machine)
    end_writing(writer, bucket)
    # the journal has fields
    assert machine.run("journalctl --no-pager -o cat -u stateproxy@x STATEPROXY_PROCESS=supervisor").out

    # what is open when it stops is finished, and nothing is left
    writer = begin_writing(machine)
    stopping = machine.spawn("systemctl stop stateproxy@x")
    util.wait_until(lambda: "draining" in journal(machine), 20, "draining", every=0.1)
    end_writing(writer, bucket)
    util.finish(stopping)
    assert show(machine, "Result") == "success", journal(machine)
    assert not machine.mounts() and not machine.pids("stateproxyd")

    # a wrong configuration is not tried again
    machine.path("/etc/stateproxy/x.yaml").write_text("bucket: x\n")
    assert machine.run("systemctl start stateproxy@x", check=False).code != 0
    assert (show(machine, "ActiveState"), show(machine, "ExecMainStatus"), show(machine, "NRestarts")) == \
        ("failed", "78", "0"), journal(machine)

    # removal stops what runs
    configure(machine, bucket)
    machine.run("systemctl reset-failed stateproxy@x")
    start(machine)
    machine.run(["dpkg", "-r", "stateproxy"])
    assert not machine.mounts() and not machine.pids("stateproxyd")


@pytest.mark.timeout(180)
def test_restart(machine, bucket):
    """systemctl restart: the mount stays, and programs wait; a stop and a start where that cannot be."""
    configure(machine, bucket)
    start(machine)
    machine.run("echo hello >/mnt/x/a.txt")
    util.wait_until(lambda: int(show(machine, "NFileDescriptorStore")) > 100, 20, "the store", every=0.1)
    pid = int(show(machine, "MainPID"))
    writer = begin_writing(machine)
    for _ in range(3):
        machine.run("systemctl restart stateproxy@x")
    before = show(machine, "MainPID")
    machine.run("stateproxyctl leave")          # by hand: the unit starts the next one
    util.wait_until(lambda: show(machine, "MainPID") not in ("0", before) and
                    show(machine, "ActiveState") == "active", 30, "the next one", every=0.1)
    said = journal(machine)
    assert int(show(machine, "MainPID")) not in (0, pid) and len(machine.mounts()) == 1
    assert said.count("leaving what is open to the next daemon") >= 3 and "draining" not in said, said
    assert machine.run("cat /mnt/x/a.txt").out == "hello\n"
    end_writing(writer, bucket)
    assert journal(machine).count("taken over, all processes are there") == 4, journal(machine)
    assert show(machine, "Result") == "success"

    # another prefix: what is open is published, and the next one mounts anew
    env = machine.path("/etc/stateproxy/x.env")
    env.write_text(env.read_text() + "STATE_PREFIX=q\n")
    machine.run("systemctl restart stateproxy@x")
    assert "cannot change while files are open" in journal(machine) and "draining" in journal(machine)
    assert len(machine.mounts()) == 1 and machine.run("ls /mnt/x").out == ""

    # a stop leaves nothing
    machine.run("systemctl stop stateproxy@x")
    assert not machine.mounts() and not machine.pids("stateproxyd")
    assert show(machine, "NFileDescriptorStore") == "0"


def test_mount_unit(machine, bucket):
    """fstab, as systemd reads it: a .mount unit, and one with an automount before it."""
    line = f"{bucket.bucket}/p /mnt/x stateproxy {options(bucket, 'x-systemd.automount', 'nofail')} 0 0\n"
    machine.path("/etc/fstab").write_text(line)
    machine.run("systemctl daemon-reload && systemctl start mnt-x.mount")
    machine.run("echo hello >/mnt/x/a.txt")
    assert bucket.get("p/a.txt") == b"hello\n"
    machine.run("systemctl stop mnt-x.mount")
    util.wait_until(lambda: not machine.pids("stateproxyd"), 20, "the end of the daemon", every=0.1)
    assert show(machine, "Result", "mnt-x.mount") == "success"
    if not machine.path("/dev/autofs").exists():
        return                  # this kernel has no autofs
    machine.run("systemctl start mnt-x.automount")
    assert machine.run("cat /mnt/x/a.txt", timeout=20).out == "hello\n"       # the first use mounts it
    assert len(machine.mounts()) == 1
    machine.run("systemctl stop mnt-x.automount mnt-x.mount")
