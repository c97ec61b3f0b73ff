"""The daemon is replaced again and again while programs work: restarted in place, also with another file of its
program, and left to the next one. No program has an error, no update is lost, every byte is on S3.

STATEPROXY_TEST_RESTARTS is how often (3; by hand, before a release, 100)."""

import os
import shutil

import pytest

from harness import DAEMON
from harness.holder import Holder
from harness.load import PARTS, Load

LWW, CAS = "s3-buffered-lww", "s3-buffered-cas"
RESTARTS = int(os.environ.get("STATEPROXY_TEST_RESTARTS", "3"))

pytestmark = [pytest.mark.slow, pytest.mark.limit(90 + RESTARTS * 5)]


@pytest.fixture(params=[LWW, CAS])
def variant(request):
    return request.param


@pytest.fixture
def holder(scratch):
    h = Holder(scratch).start()
    yield h
    h.close()


def restart(m):
    assert m.ctl("restart", timeout=60).out == "restarted in place\n"


def under_load(m, bucket, scratch, seed, variant, replace):
    with Load(m, bucket, scratch, seed, isolated=variant == CAS) as load:
        for _ in range(RESTARTS):
            load.check()
            replace()
        done = load.finish()
    print(f"{variant}: replaced={RESTARTS} done={done}")
    # (With versitygw a part that a replaced worker has sent, and that ends during Complete, brings the upload back.)
    assert not m.errors() and all(bucket.parts(*u) for u in bucket.uploads()), "an upload whose id was lost"
    m.check()


def test_restarted_in_place(mount, bucket, scratch, seed, variant):
    m = mount(variant=variant, env=PARTS)
    under_load(m, bucket, scratch, seed, variant, lambda: restart(m))
    assert m.status()["restarted_in_place"] == RESTARTS


def test_with_another_file_of_its_program(mount, bucket, scratch, seed, variant):
    program = scratch / "stateproxyd"
    shutil.copy2(DAEMON, program)
    scratch.chmod(0o755)
    m = mount(variant=variant, env=PARTS, start=False)
    m.wrap = lambda daemon, *args: [program, *args]
    m.start()

    def upgrade():
        new = program.with_suffix(".new")
        shutil.copy2(DAEMON, new)
        new.rename(program)                     # as a package manager does
        restart(m)
        assert os.path.samefile(f"/proc/{m.proc.pid}/exe", program)
    under_load(m, bucket, scratch, seed, variant, upgrade)


def test_left_to_the_next_one(mount, bucket, scratch, seed, variant, holder):
    m = mount(variant=variant, env={**PARTS, "STATEPROXY_DAEMON_HOLDER": holder.path,
                                    "STATEPROXY_BUFFER_SESSIONS": "16"})
    holder.wait("kept")

    def leave():
        assert m.ctl("leave", timeout=60).out == "left to the next daemon\n" and m.wait_exit() == 79
        before = holder.count("kept")
        m.log_path.unlink()
        m.start()
        holder.wait("kept", before + 1)
    under_load(m, bucket, scratch, seed, variant, leave)
