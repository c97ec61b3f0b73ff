"""The mount of a sidecar as Kubernetes lays it: the volume is shared, the sidecar mounts in a folder of
it (mount.create), and the program's container has the folder above (HostToContainer)."""

import os
import pathlib
import subprocess

import pytest

from harness import util


@pytest.fixture
def volume(scratch):
    """A shared mount, as the node's file system is."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount")
    with util.shared_mount(scratch / "volume") as path:
        (path / "pod").mkdir()
        yield path / "pod"


@pytest.fixture
def program(volume):
    """The volume as a container of another mount namespace has it."""
    child = subprocess.Popen(["unshare", "-m", "--propagation", "slave", "sleep", "100"])
    util.wait_until(lambda: os.readlink(f"/proc/{child.pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt"),
                    what="its namespace")
    yield pathlib.Path(f"/proc/{child.pid}/root{volume}")
    child.kill()
    child.wait()


def test_a_mount_that_is_made_anew_reaches_the_program(mount, bucket, volume, program):
    m = mount(start=False, mountpoint=volume / "mount", env={"STATEPROXY_MOUNT_CREATE": "true"})
    m.wrap = lambda *command: ["unshare", "-m", "--propagation", "unchanged", *command]
    bucket.put(m.key("f.txt"), b"content")
    m.start()
    assert (program / "mount" / "f.txt").read_bytes() == b"content"
    m.kill_supervisor()                     # the sidecar dies, and is started again
    with pytest.raises(OSError):
        (program / "mount" / "f.txt").read_bytes()
    m.log_path.unlink()
    m.start()
    assert (program / "mount" / "f.txt").read_bytes() == b"content"
    (program / "mount" / "g.txt").write_bytes(b"written")
    assert bucket.get(m.key("g.txt")) == b"written"
    m.stop()
    assert not os.path.ismount(program / "mount") and not os.listdir(program / "mount")


def test_its_parent_has_to_be_there(mount, scratch):
    m = mount(start=False, mountpoint=scratch / "none" / "mount", env={"STATEPROXY_MOUNT_CREATE": "true"})
    code, errors = m.start_refused()
    assert code == 73 and "mount.create" in errors[-1]
