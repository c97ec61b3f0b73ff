"""An upload that somebody aborts before its Complete: versitygw answers 200 nevertheless where the key has
an object, and does nothing. Nobody is told that such a file has been published."""

import concurrent.futures
import contextlib
import os

import pytest

from harness import SLOW
from harness.pattern import pattern
from test_parts import MIB, PARTS, THRESHOLD, holds, no_uploads, write

VARIANTS = ["s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"]
SERVERS = ["versitygw", "minio"] if SLOW == 1 else ["versitygw"]


@pytest.fixture(scope="module", params=SERVERS)
def s3server(request, s3server):
    return s3server if request.param == "versitygw" else request.getfixturevalue("minio")


def abort_all(bucket):
    for key, upload in bucket.uploads():
        bucket.client.abort_multipart_upload(Bucket=bucket.bucket, Key=key, UploadId=upload)


OLD, DATA = b"what was there", pattern(THRESHOLD + MIB, 1)


@contextlib.contextmanager
def aborted_write(m, proxy, bucket):
    """DATA is written over OLD, and the upload has been aborted before its Complete, which waits until
    release("at"): the future of the write."""
    bucket.put(m.key("f.bin"), OLD)
    assert (m.path / "f.bin").read_bytes() == OLD
    proxy.hold("at", op="CompleteMultipartUpload", times=1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write, m.path / "f.bin", DATA)
        proxy.wait_held("at")
        abort_all(bucket)
        yield writing


@pytest.mark.parametrize("variant", VARIANTS)
def test_aborted_before_complete(mount, proxy, bucket, variant):
    m = mount(variant=variant, via=proxy, env=PARTS)
    with aborted_write(m, proxy, bucket) as writing:
        proxy.release("at")
        if variant == "s3-passthrough":     # it no longer has the bytes
            with pytest.raises(OSError):
                writing.result(20 * SLOW)
            holds(bucket, m, "f.bin", OLD)
        else:
            writing.result(20 * SLOW)
            holds(bucket, m, "f.bin", DATA)
            assert (m.path / "f.bin").read_bytes() == DATA
    no_uploads(bucket)
    m.check()


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_it_costs(mount, proxy, bucket, s3server, minio, variant):
    """One HEAD, where the server is known for it."""
    m = mount(variant=variant, via=proxy, env=PARTS)
    is_blind = s3server is not minio
    for i in range(2):
        proxy.reset_counts()
        write(m.path / f"f{i}.bin", pattern(THRESHOLD, i))
        log = [x.op for x in proxy.log()]
        after = log[log.index("CompleteMultipartUpload") + 1:]
        assert after == (["HeadObject"] if is_blind else [])


@pytest.mark.parametrize("variant", VARIANTS[:2])
def test_aborted_and_replaced(mount, proxy, bucket, variant):
    """The last write wins, since it has not ended before; compare-and-set has no success."""
    m = mount(variant=variant, via=proxy, env=PARTS)
    with aborted_write(m, proxy, bucket) as writing:
        bucket.put(m.key("f.bin"), b"theirs")
        proxy.release("at")
        if variant == "s3-buffered-cas":
            with pytest.raises(OSError) as e:
                writing.result(20 * SLOW)
            assert e.value.errno in (5, 17)
            assert bucket.get(m.key("f.bin")) == b"theirs"
            assert (m.path / "f.bin").read_bytes() == b"theirs"
        else:
            writing.result(20 * SLOW)
            holds(bucket, m, "f.bin", DATA)
    m.check()


@pytest.mark.parametrize("new", [True, False])
def test_deleted_at_once(mount, proxy, bucket, s3server, minio, new):
    """A consumer has taken the file before we look whether it is there: it stays deleted."""
    if s3server is minio:
        pytest.skip("it is not looked at")
    m = mount(via=proxy, env=PARTS)
    if not new:
        bucket.put(m.key("f.bin"), b"was there")
    proxy.hold("look", op="CompleteMultipartUpload", times=1, when="after")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write, m.path / "f.bin", pattern(THRESHOLD, 1))
        proxy.wait_held("look")
        bucket.delete(m.key("f.bin"))
        proxy.release("look")
        writing.result(20 * SLOW)
    assert not bucket.exists(m.key("f.bin"))
    assert proxy.counts()["CompleteMultipartUpload"] == 1
    no_uploads(bucket)
    m.check()


def test_rename_in_parts(mount, proxy, bucket):
    """The source is deleted only when the copy is there."""
    m = mount(via=proxy, env={**PARTS, "STATEPROXY_UPLOAD_COPY_LIMIT": "5Mi"})
    data = pattern(THRESHOLD, 1)
    bucket.put(m.key("a.bin"), data)
    bucket.put(m.key("b.bin"), b"was there")
    proxy.hold("at", op="CompleteMultipartUpload", times=1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        moving = pool.submit(os.rename, m.path / "a.bin", m.path / "b.bin")
        proxy.wait_held("at")
        abort_all(bucket)
        proxy.release("at")
        moving.result(20 * SLOW)        # it has been copied anew
    holds(bucket, m, "b.bin", data)
    assert not bucket.exists(m.key("a.bin"))
    m.check()
