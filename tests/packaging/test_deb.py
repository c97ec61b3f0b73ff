"""The Debian package in a Debian root: what it installs, mounts from fstab, upgrade, removal."""

import re
import shutil
import socket
import subprocess

import pytest

from conftest import give_credentials, install
from harness import TOP, util

CREDENTIALS = "credentials_file=/etc/stateproxy/credentials"


def options(bucket, *more):
    return ",".join(["rw", "_netdev", f"endpoint={bucket.endpoint}", CREDENTIALS, "addressing=path",
                     "log=/var/log/stateproxy.log", *more])


def fstab(box, bucket, *more):
    box.path("/etc/fstab").write_text(f"{bucket.bucket}/p /mnt/x stateproxy {options(bucket, *more)} 0 0\n")


def no_processes(box):
    util.wait_until(lambda: not box.pids("stateproxyd") and not box.pids("mount.stateprox"), 20,
                    "the end of the daemon")


@pytest.mark.skipif(not shutil.which("lintian"), reason="no lintian")
def test_lintian(deb):
    done = util.run(["lintian", "--allow-root", "--fail-on", "error,warning", deb], 120, check=False)
    assert done.code == 0, repr(done)


def test_what_is_installed(installed):
    for program in ("stateproxyd", "stateproxyctl", "mount.stateproxy"):
        said = installed.run([program, "--version"]).out
        assert re.fullmatch(rf"{re.escape(program)} \d+\.\d+\.\d+\n", said), said
    assert installed.run("getent passwd stateproxy").out
    assert installed.run("stat -c '%a %U' /run/stateproxy /var/lib/stateproxy").out == "700 root\n700 root\n"
    listed = installed.run(["dpkg", "-L", "stateproxy"]).out.split()
    for path in ("/usr/lib/systemd/system/stateproxy@.service", "/usr/lib/sysusers.d/stateproxy.conf",
                 "/usr/lib/tmpfiles.d/stateproxy.conf", "/usr/share/man/man8/mount.stateproxy.8.gz",
                 "/usr/share/man/man8/stateproxyd.8.gz", "/usr/share/man/man5/stateproxy.yaml.5.gz",
                 "/usr/libexec/stateproxy/leave-before-restart",
                 "/usr/share/bash-completion/completions/stateproxyctl"):
        assert path in listed, path
    conffiles = installed.run("dpkg-query -W -f '${Conffiles}' stateproxy").out
    assert "/etc/stateproxy/sample.yaml " in conffiles and "/etc/default/stateproxy " in conffiles
    installed.run(["stateproxyd", "--check", "--config", "/etc/stateproxy/sample.yaml"],
                  env={"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})


def test_completion(installed):
    """Without the package bash-completion: its two helpers are stood in for."""
    script = ("_init_completion() { cur=$COMP_CUR; prev=; }; _filedir() { :; };"
              ". /usr/share/bash-completion/completions/$1; _$1 $1; echo ${COMPREPLY[*]}")

    def complete(program, cur):
        return installed.run(["bash", "-c", script, "x", program], env={"COMP_CUR": cur}).out.split()

    assert complete("stateproxyctl", "in") == ["inflight"]
    assert "--socket" in complete("stateproxyctl", "--")
    assert complete("stateproxyd", "--print-s") == ["--print-sample"]


def test_unit_is_valid(installed):
    installed.path("/etc/stateproxy/x.yaml").write_text("bucket: my-bucket\nmount:\n  path: /mnt/x\n")
    done = installed.run("systemd-analyze verify --man=no stateproxy@x.service", check=False)
    assert done.code == 0 and not done.out and not done.err, repr(done)


@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"])
def test_fstab(installed, bucket, variant):
    bucket.put("p/there.txt", b"there")
    fstab(installed, bucket, f"variant={variant}")
    installed.run(["mount", "/mnt/x"])
    assert installed.run("cat /mnt/x/there.txt").out == "there"
    installed.run("echo hello >/mnt/x/new.txt")
    assert bucket.get("p/new.txt") == b"hello\n"
    (where, source, flags), = installed.mounts()
    assert (where, source) == ("/mnt/x", f"{bucket.bucket}/p")
    assert {"nosuid", "nodev"} <= set(flags) and "noexec" not in flags
    assert f"variant={variant}" in installed.path("/var/log/stateproxy.log").read_text()
    # all that fstab names is mounted: nothing is left to do
    installed.run(["mount", "-a"])
    assert len(installed.mounts()) == 1
    installed.run(["umount", "/mnt/x"])
    assert not installed.mounts()
    no_processes(installed)
    assert "ended exit=0" in installed.path("/var/log/stateproxy.log").read_text()


def test_read_only_and_noexec(installed, bucket):
    bucket.put("p/run.sh", b"#!/bin/sh\necho ran\n")
    installed.run(["mount", "-t", "stateproxy", "-o", options(bucket, "ro", "noexec", "file_mode=0755"),
                   f"s3://{bucket.bucket}/p/", "/mnt/x"])
    assert "Read-only" in installed.run("echo x >/mnt/x/new", check=False).err
    assert "denied" in installed.run("/mnt/x/run.sh", check=False).err
    (_, source, flags), = installed.mounts()
    assert {"ro", "noexec"} <= set(flags) and source == f"s3://{bucket.bucket}/p/"
    installed.run(["umount", "/mnt/x"])


def helper(box, bucket, *args, opts=(), spec=None, where="/mnt/x"):
    return box.run(["mount.stateproxy", spec or f"{bucket.bucket}/p", where, "-o", options(bucket, *opts), *args],
                   check=False)


def test_exit_codes(installed, bucket):
    def refused(code, text, *args, **kwargs):
        done = helper(installed, bucket, *args, **kwargs)
        assert done.code == code and text in done.err, repr(done)
        assert not installed.mounts()
        return done

    refused(1, 'unknown option "varant", did you mean "variant"?', opts=["varant=x"])
    refused(1, "expected s3-buffered-lww, s3-buffered-cas", opts=["variant=x"])
    refused(1, "upload.part_size", opts=["part_size=8Mi"])
    refused(1, "credentials_file=", opts=["secret_access_key=x"])
    refused(1, "needs a value", opts=["region"])
    refused(1, "data reach S3 at close", opts=["sync"])
    refused(1, "two arguments", "third")
    refused(1, "expected stateproxy", "-t", "ext4")
    refused(32, "remount", opts=["remount"])
    refused(32, "/mnt/none", where="/mnt/none")
    refused(32, "there is no bucket", spec="no-such-bucket-here")
    refused(32, "nothing accepts connections", opts=["endpoint=http://127.0.0.1:1", "max_attempts=1"])
    give_credentials(installed, "wrong")
    refused(32, "secret key")
    give_credentials(installed)
    # mount(8) hands the code on
    done = installed.run(["mount", "-t", "stateproxy", "-o", "varant=x", bucket.bucket, "/mnt/x"], check=False)
    assert done.code == 1, repr(done)
    no_processes(installed)


def test_flags_of_mount(installed, bucket):
    assert helper(installed, bucket, "-f").code == 0
    assert not installed.mounts()
    done = helper(installed, bucket, "-f", "-s", "-v", opts=["varant=x"])
    assert done.code == 0 and "varant" in done.err
    done = helper(installed, bucket, "-n", "-v")
    assert done.code == 0 and "ready" in done.err, repr(done)
    done = helper(installed, bucket)                # it is mounted already
    assert done.code == 32 and "another stateproxyd" in done.err, repr(done)
    installed.run(["umount", "/mnt/x"])


def test_its_end_is_awaited_and_an_interrupt_ends_it(installed, bucket, guard):
    """A server that accepts and says nothing: mount waits, and ^C leaves nothing behind."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(16)
        proc = installed.spawn(["mount.stateproxy", f"{bucket.bucket}/p", "/mnt/x", "-o",
                                options(bucket, f"endpoint=http://127.0.0.1:{s.getsockname()[1]}")])
        util.wait_until(lambda: installed.pids("stateproxyd"), 20, "the daemon")
        foreground = min(installed.pids("mount.stateprox"))
        installed.run(["kill", "-INT", foreground])
        assert util.finish(proc, 20, check=False).code == 8
        no_processes(installed)
    assert not installed.mounts()


WRITER = "exec 3>/mnt/x/long.bin; head -c 5000000 /dev/zero >&3; echo begun; read _; echo end >&3; exec 3>&-"


def begin_writing(box):
    proc = box.spawn(WRITER, stdin=subprocess.PIPE)
    assert proc.stdout.readline() == b"begun\n"
    return proc


def end_writing(proc, bucket):
    proc.stdin.write(b"\n")
    proc.stdin.flush()
    util.finish(proc)
    assert bucket.get("p/long.bin") == bytes(5000000) + b"end\n"


def test_upgrade_with_a_mount_in_use(installed, bucket, newer_deb):
    fstab(installed, bucket)
    installed.run(["mount", "/mnt/x"])
    before = installed.pids("stateproxyd")
    writer = begin_writing(installed)
    done = install(installed, newer_deb)
    assert "/mnt/x" in done.err                     # which mounts still run the old version
    assert set(before) <= set(installed.pids("stateproxyd"))
    end_writing(writer, bucket)
    # workers are replaced under the new files, too
    for pid in installed.pids("stateproxyd")[1:]:
        installed.run(["kill", "-KILL", pid], check=False)
    installed.run("echo after >/mnt/x/after.txt")
    assert bucket.get("p/after.txt") == b"after\n"
    installed.run(["umount", "/mnt/x"])
    no_processes(installed)


def test_removal(installed, bucket):
    fstab(installed, bucket)
    installed.run(["mount", "/mnt/x"])
    installed.path("/etc/stateproxy/mine.yaml").write_text("bucket: mine\n")
    writer = begin_writing(installed)
    done = installed.run(["dpkg", "-r", "stateproxy"], check=False)
    assert done.code != 0 and "in use: /mnt/x" in done.err, repr(done)
    assert len(installed.mounts()) == 1
    end_writing(writer, bucket)
    installed.run(["dpkg", "-r", "stateproxy"])
    assert not installed.mounts()
    no_processes(installed)
    assert installed.path("/etc/stateproxy/sample.yaml").exists()
    installed.run(["dpkg", "-P", "stateproxy"])
    assert not installed.path("/etc/stateproxy/sample.yaml").exists()
    assert installed.path("/etc/stateproxy/mine.yaml").exists()
    assert bucket.get("p/long.bin").endswith(b"end\n")


def test_removal_of_a_dead_mount(installed, bucket):
    fstab(installed, bucket)
    installed.run(["mount", "/mnt/x"])
    installed.run(["pkill", "-KILL", "-x", "stateproxyd"])
    no_processes(installed)
    assert installed.mounts()
    installed.run(["dpkg", "-r", "stateproxy"])
    assert not installed.mounts()


def test_rpm(rpm):
    """Made of the same files; test_readme.py installs it."""
    listed = util.run(["rpm", "-qlp", rpm]).out.split()
    for path in ("/usr/sbin/stateproxyd", "/usr/sbin/mount.stateproxy", "/etc/sysconfig/stateproxy",
                 "/usr/lib/systemd/system/stateproxy@.service"):
        assert path in listed, path
    needs = util.run(["rpm", "-qp", "--requires", rpm]).out
    assert "libxml2.so" in needs and "curl" not in needs
    assert "/etc/sysconfig/stateproxy" in util.run(
        f"rpm2archive -n <{rpm} | tar -xO ./usr/lib/systemd/system").out
    util.run(["rpmspec", "-P", TOP / "packaging" / "rpm" / "stateproxy.spec"])
