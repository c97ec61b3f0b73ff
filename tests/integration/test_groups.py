"""Directories keep the set-group-ID bit, and what is made in them gets their group. Files keep neither bit. POSIX ACLs
are not supported."""

import errno
import os
import stat

import pytest

from harness.util import wait_until


GROUP = 4321


@pytest.fixture(params=["s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"])
def variant(request):
    return request.param


@pytest.fixture
def m(mount, variant):
    return mount(variant=variant)


@pytest.fixture
def shared(m):
    d = m.path / "shared"
    os.mkdir(d)
    os.chown(d, -1, GROUP)
    os.chmod(d, 0o2775)
    return d


def test_the_bit_is_kept(m, mount, variant, shared, bucket):
    assert stat.S_IMODE(shared.stat().st_mode) == 0o2775
    kept = bucket.head(m.key("shared/"))["Metadata"]
    assert kept["mode"] == str(0o42775) and kept["gid"] == str(GROUP)
    other = mount(variant=variant, env={"STATEPROXY_DIRECTORIES_TTL": "10ms"})

    def looked():
        st = (other.path / "shared").stat()
        return stat.S_IMODE(st.st_mode) == 0o2775 and st.st_gid == GROUP
    wait_until(looked)                  # (the first look at it must not cost more than that it is there)
    os.chmod(shared, 0o775)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o775


def test_what_is_made_gets_the_group(m, mount, variant, shared, bucket):
    (shared / "f.txt").write_bytes(b"x")
    os.mknod(shared / "n.txt", stat.S_IFREG | 0o644)
    os.mkfifo(shared / "pipe")
    os.symlink("f.txt", shared / "link")
    os.makedirs(shared / "d/e")
    (shared / "d/e/g.txt").write_bytes(b"x")
    for name in "f.txt", "n.txt", "pipe", "link", "d", "d/e", "d/e/g.txt":
        st = os.lstat(shared / name)
        assert st.st_gid == GROUP and bool(st.st_mode & stat.S_ISGID) == stat.S_ISDIR(st.st_mode), name
    for name in "f.txt", "n.txt", "pipe", "link", "d/", "d/e/", "d/e/g.txt":
        kept = bucket.head(m.key(f"shared/{name}"))["Metadata"]
        assert kept["gid"] == str(GROUP)
        assert name[-1] != "/" or int(kept["mode"]) & stat.S_ISGID
    (m.path / "outside.txt").write_bytes(b"x")
    assert (m.path / "outside.txt").stat().st_gid != GROUP


def test_files_keep_neither_bit(m, mount, variant, bucket):
    """As on a nosuid mount they would have no effect; stat says so."""
    p = m.path / "tool.sh"
    p.write_bytes(b"#!/bin/sh\n")
    os.chmod(p, 0o6755)
    assert stat.S_IMODE(p.stat().st_mode) == 0o755
    assert bucket.head(m.key("tool.sh"))["Metadata"]["mode"] == str(0o100755)
    bucket.put(m.key("theirs.sh"), b"x", Metadata={"mode": str(0o106755)})
    assert stat.S_IMODE((m.path / "theirs.sh").stat().st_mode) == 0o755
    os.mkdir(m.path / "d")
    os.chmod(m.path / "d", 0o4755)
    assert stat.S_IMODE((m.path / "d").stat().st_mode) == 0o755


@pytest.mark.parametrize("name", ["system.posix_acl_access", "system.posix_acl_default"])
def test_there_are_no_acls(m, name):
    os.mkdir(m.path / "d")
    (m.path / "f.txt").write_bytes(b"x")
    acl = bytes.fromhex("02000000" "01000600ffffffff" "04000400ffffffff" "20000400ffffffff")
    for p in m.path / "d", m.path / "f.txt":
        for call, args in (os.getxattr, ()), (os.setxattr, (acl,)), (os.removexattr, ()):
            if call is not os.getxattr and "default" in name and p.is_file():
                continue                # (the kernel itself answers that)
            with pytest.raises(OSError) as e:
                call(p, name, *args)
            assert e.value.errno == errno.EOPNOTSUPP, (p, call)
