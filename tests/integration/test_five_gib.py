"""Files around S3's limit for one PUT and one copy: written, copied, renamed, changed, refused. By default the limits are
lowered (upload.copy_limit); STATEPROXY_TEST_FULL=1 takes 5 GiB, a byte more and a byte less. 64 MiB of memory."""

import hashlib
import os
import subprocess
import sys

import pytest

from test_cas import CAS, cas, process      # noqa: F401
from test_rename_cas import LATE
from test_rename_parts import meanwhile

MIB = 1 << 20
FULL = os.environ.get("STATEPROXY_TEST_FULL") == "1"
LIMIT = (5 << 30) if FULL else 5 * MIB
SIZES = [LIMIT - 1, LIMIT, LIMIT + 1]
ENV = {"STATEPROXY_UPLOAD_COPY_LIMIT": str(LIMIT), "STATEPROXY_MEMORY_LIMIT": "64Mi"}
if not FULL:
    ENV |= {"STATEPROXY_UPLOAD_MULTIPART_THRESHOLD": "5Mi", "STATEPROXY_UPLOAD_PART_SIZE": "5Mi"}

BLOCKS = """
import hashlib, sys
block = hashlib.shake_128(b"block").digest(1 << 20)
left, no = int(sys.argv[1]), 0
while left > 0:
    sys.stdout.buffer.write((no.to_bytes(8, "big") + block[8:])[:left])
    left, no = left - len(block), no + 1
"""

pytestmark = [pytest.mark.limit(3000 if FULL else 120), pytest.mark.parametrize("size", SIZES)]


def write(path, size):
    with open(path, "wb") as f:
        subprocess.run([sys.executable, "-c", BLOCKS, str(size)], stdout=f, check=True)


def digest_of(size, patch=(0, b"")):
    """Of what is written, changed at an offset of the first block."""
    h, block = hashlib.sha1(), hashlib.shake_128(b"block").digest(MIB)
    for no in range(-(-size // MIB)):
        piece = bytearray((no.to_bytes(8, "big") + block[8:])[:size - no * MIB])
        if no == 0:
            piece[patch[0]:patch[0] + len(patch[1])] = patch[1]
        h.update(piece)
    return h.hexdigest()


def digest_at(bucket, key):
    h = hashlib.sha1()
    for piece in bucket.client.get_object(Bucket=bucket.bucket, Key=key)["Body"].iter_chunks(MIB):
        h.update(piece)
    return h.hexdigest()


def digest_read(path):
    h = hashlib.sha1()
    with open(path, "rb", buffering=0) as f:
        while piece := f.read(MIB):
            h.update(piece)
    return h.hexdigest()


def moved(proxy):
    """Bytes of objects that went through the daemon since it was asked last."""
    proxy.wait_idle()
    n = proxy.bytes_sent() + proxy.bytes_received()
    proxy.reset_counts()
    return n


@pytest.mark.parametrize("variant", ["s3-buffered-lww", CAS])
def test_all_of_its_life(mount, proxy, bucket, size, variant):
    m = mount(variant=variant, via=proxy, env=ENV, is_open=lambda: True)
    want = digest_of(size)
    write(m.path / "a", size)
    assert digest_at(bucket, m.key("a")) == want
    name = "a"
    if variant != CAS:
        moved(proxy)
        subprocess.run(["cp", m.path / "a", m.path / "b"], check=True)
        assert moved(proxy) < MIB
        assert digest_at(bucket, m.key("b")) == want
        (m.path / "a").unlink()
        name = "b"
    moved(proxy)
    os.rename(m.path / name, m.path / "c")
    if variant != CAS or size >= LIMIT:     # (below, and below the threshold, its bytes come through here)
        assert moved(proxy) < MIB
    assert digest_at(bucket, m.key("c")) == want and not bucket.exists(m.key(name))
    moved(proxy)
    with open(m.path / "c", "r+b", buffering=0) as f:
        f.seek(100_000)
        f.write(b"changed")
    assert moved(proxy) < 32 * MIB
    want = digest_of(size, (100_000, b"changed"))
    assert digest_at(bucket, m.key("c")) == want == digest_read(m.path / "c")
    (m.path / "c").unlink()
    assert bucket.list(m.key("")) == {} and bucket.uploads() == []
    m.check()


def test_a_conflict(cas, proxy, bucket, process, size):       # noqa: F811
    """At the close, and at the rename."""
    m, a = cas(via=proxy, env={**ENV, **LATE}, is_open=lambda: True), process()
    bucket.put("p/f", b"1")
    a.get(m.path / "f")
    write(m.path / "tmp", size)
    op = "CompleteMultipartUpload" if FULL or size >= LIMIT else "PutObject"
    result = meanwhile(proxy, op, lambda: bucket.put("p/f", b"theirs"), a, "rename", m.path / "tmp", m.path / "f",
                       within=600 if FULL else 20)     # (below the limit all its bytes go through here)
    assert result == [17] and bucket.get("p/f") == b"theirs" and bucket.size("p/tmp") == size
    fd = os.open(m.path / "tmp", os.O_RDWR)
    os.write(fd, b"x")
    bucket.put("p/tmp", b"theirs")
    for call in os.fsync, os.close:
        with pytest.raises(FileExistsError):
            call(fd)
    assert bucket.get("p/tmp") == b"theirs"
    proxy.wait_idle()
    assert bucket.uploads() == []
    m.check()
