"""Checksums: what is stored carries one, what arrives as another is sent again, what is read is compared,
and a server that refuses them is told none."""

import base64
import errno
import os
import threading

import pytest

from harness.pattern import pattern
from harness.tls import Authority, TlsFront

SIZES = (1, 5000, 3_000_000)
UNSIGNED = {"STATEPROXY_S3_PAYLOAD_SIGNING": "never"}      # as over TLS: the signature says nothing of the body


def crc(name, data):
    """By bits: slow, and another way than the daemon's."""
    poly, ones, size = {"crc64nvme": (0x9a6c9329ac4bc9b5, 2 ** 64 - 1, 8),
                        "crc32c": (0x82f63b78, 2 ** 32 - 1, 4)}[name]
    table = []
    for b in range(256):
        for _ in range(8):
            b = b >> 1 ^ (poly if b & 1 else 0)
        table.append(b)
    state = ones
    for b in data:
        state = state >> 8 ^ table[(state ^ b) & 255]
    return base64.b64encode((state ^ ones).to_bytes(size, "big")).decode()


@pytest.mark.parametrize("name", ["crc64nvme", "crc32c"])
@pytest.mark.parametrize("which", ["s3server", "minio"])
def test_what_is_stored_has_one(request, mount, bucket_at, make_proxy, which, name):
    server = request.getfixturevalue(which)
    bucket = bucket_at(server)
    proxy = make_proxy(server.port)
    m = mount(via=proxy, s3=bucket, env={"STATEPROXY_CHECKSUM_ALGORITHM": name})
    for size in SIZES:
        data = pattern(size, size)
        (m.path / f"f{size}.bin").write_bytes(data)
        told = bucket.head(m.key(f"f{size}.bin"), ChecksumMode="ENABLED")
        assert told[f"Checksum{name.upper()}"] == crc(name, data)
        assert (m.path / f"f{size}.bin").read_bytes() == data
    assert {x.status for x in proxy.log(op="PutObject")} == {200}
    assert "learned" not in m.log()


@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas"])
def test_a_body_that_arrives_as_another_is_sent_again(mount, proxy, bucket, variant):
    m = mount(via=proxy, env=UNSIGNED, variant=variant)
    for size in SIZES[1:]:
        proxy.add_rule("flip_request", op="PutObject", times=1)
        (m.path / f"f{size}.bin").write_bytes(pattern(size, 1))
        assert proxy.state().rules[0]["applied"] == 1
        proxy.clear_rules()
        assert bucket.get(m.key(f"f{size}.bin")) == pattern(size, 1)
    assert [x.status for x in proxy.log(op="PutObject") if x.key.startswith(m.key("f"))] == [400, 200] * 2
    assert not [x for x in m.log().splitlines() if " warn " in x or " err " in x], "healed, and not told"
    m.check()


def test_a_body_that_never_arrives_is_told(mount, proxy, bucket):
    bucket.put(m_key := "p/f.bin", b"old")
    m = mount(via=proxy, env=UNSIGNED)
    proxy.add_rule("flip_request", op="PutObject")
    with pytest.raises(OSError) as e:
        (m.path / "f.bin").write_bytes(pattern(5000, 1))
    assert e.value.errno == errno.EIO
    assert bucket.get(m_key) == b"old"
    proxy.clear_rules()
    assert (m.path / "f.bin").read_bytes() == b"old"


@pytest.mark.parametrize("size", [5000, 2_000_000])
@pytest.mark.parametrize("times", [1, None])
def test_bytes_that_are_not_the_objects_are_not_delivered(mount, proxy, bucket, size, times):
    """In parts, so that the ETag is no MD5: its checksum alone tells. Loaded for writing, so that it is read
    whole."""
    data = pattern(size, 1)
    put_in_parts(bucket, "p/f.bin", data)
    m = mount(via=proxy)
    proxy.add_rule("mangle", how="flip", op="GetObject", times=times)
    if times:
        with open(m.path / "f.bin", "ab") as f:
            f.write(b"more")
        assert bucket.get("p/f.bin") == data + b"more"
        assert not m.errors()
    else:
        with pytest.raises(OSError) as e:
            with open(m.path / "f.bin", "ab") as f:
                f.write(b"more")
        assert e.value.errno == errno.EIO
        assert bucket.get("p/f.bin") == data
    m.check()


def put_in_parts(bucket, key, data):
    args = {"Bucket": bucket.bucket, "Key": key}
    made = bucket.client.create_multipart_upload(**args, ChecksumAlgorithm="CRC64NVME",
                                                 ChecksumType="FULL_OBJECT")
    args["UploadId"] = made["UploadId"]
    part = bucket.client.upload_part(**args, PartNumber=1, Body=data,
                                     ChecksumCRC64NVME=crc("crc64nvme", data))
    bucket.client.complete_multipart_upload(**args, MultipartUpload={"Parts": [
        {"PartNumber": 1, "ETag": part["ETag"], "ChecksumCRC64NVME": part["ChecksumCRC64NVME"]}]})
    assert "-" in bucket.head(key)["ETag"]


def test_a_server_that_refuses_them_is_sent_none(mount, proxy, bucket):
    m = mount(via=proxy, workers=1)
    proxy.add_rule("answer", status=400, code="InvalidArgument", op="PutObject",
                   having={"x-amz-checksum-crc64nvme": "*"})
    for i in range(3):
        (m.path / f"f{i}.txt").write_bytes(b"content")
        assert bucket.get(m.key(f"f{i}.txt")) == b"content"
    assert [x.status for x in proxy.log(op="PutObject")] == [400, 200, 200, 200]
    assert m.log().count("trait=no-checksums") == 1
    assert "no-checksums" in m.ctl("status").out


# -- a server that refuses them, over TLS: the ETag is the proof

VARIANTS = ["s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"]
PARTS = pattern(12 << 20, 3)


@pytest.fixture
def plain(mount, proxy, scratch):
    """plain(variant) -> a mount over TLS of a server that takes no checksums."""
    authority, fronts = Authority(scratch), []

    def make(variant):
        fronts.append(TlsFront(proxy.port, *authority.issue("127.0.0.1")))
        for op in ("PutObject", "UploadPart", "CreateMultipartUpload"):
            for header in ("x-amz-checksum-crc64nvme", "x-amz-checksum-algorithm"):
                proxy.add_rule("answer", status=400, code="InvalidArgument", op=op, having={header: "*"})
        m = mount(via=fronts[-1].endpoint(), variant=variant, env={
            "AWS_CA_BUNDLE": authority.path, "STATEPROXY_UPLOAD_MULTIPART_THRESHOLD": "5Mi",
            "STATEPROXY_UPLOAD_PART_SIZE": "5Mi"})
        (m.path / "first.bin").write_bytes(b"its ETag is its MD5")
        return m
    yield make
    for front in fronts:
        front.close()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("op, data", [("PutObject", pattern(300_000, 1)), ("UploadPart", PARTS)])
def test_without_them_other_bytes_are_sent_again(plain, proxy, bucket, variant, op, data):
    m = plain(variant)
    rules = [proxy.add_rule("flip_request", op=op, key=m.key("f.bin"), times=1)]
    for path in (m.path / "f.bin", m.path / "f.bin"):      # a new one, and one that is replaced
        path.write_bytes(data)
        assert next(r for r in proxy.state().rules if r["id"] == rules[-1])["applied"] == 1
        assert bucket.get("p/f.bin") == data
        data = data[::-1]
        rules.append(proxy.add_rule("flip_request", op=op, key=m.key("f.bin"), times=1))
    assert not m.errors()
    m.check()


@pytest.mark.parametrize("variant", VARIANTS)
def test_without_them_other_parts_are_never_published(plain, proxy, bucket, variant):
    bucket.put("p/f.bin", b"old")
    m = plain(variant)
    rule = proxy.add_rule("flip_request", op="UploadPart")
    with pytest.raises(OSError) as e:
        (m.path / "f.bin").write_bytes(PARTS)
    assert e.value.errno == errno.EIO
    assert bucket.get("p/f.bin") == b"old"
    proxy.remove_rule(rule)
    assert (m.path / "f.bin").read_bytes() == b"old"


@pytest.mark.parametrize("variant", VARIANTS[:2])
def test_without_them_other_bytes_are_never_taken_for_ours(plain, proxy, bucket, variant):
    """They carry our write-id, and are there. fsync says EIO each time, and then replaces them."""
    m = plain(variant)
    rule = proxy.add_rule("flip_request", op="PutObject")
    with open(m.path / "f.bin", "wb") as f:
        f.write(pattern(5000, 1))
        f.flush()
        for _ in range(2):
            with pytest.raises(OSError) as e:
                os.fsync(f.fileno())
            assert e.value.errno == errno.EIO
        proxy.remove_rule(rule)
        os.fsync(f.fileno())
        assert bucket.get("p/f.bin") == pattern(5000, 1)
    assert (m.path / "f.bin").read_bytes() == pattern(5000, 1)
    m.check()


def test_without_them_a_death_does_not_make_other_bytes_ours(plain, proxy, bucket):
    """The worker that has heard of them dies before it has replaced them: its successor finds the write-id."""
    m = plain("s3-buffered-cas")
    flip = proxy.add_rule("flip_request", op="PutObject", key=m.key("f.bin"), times=1)
    proxy.hold("look", when="before", op="HeadObject", key=m.key("f.bin"), nth=2)
    thread = threading.Thread(target=(m.path / "f.bin").write_bytes, args=(pattern(5000, 1),))
    thread.start()
    proxy.wait_held("look")
    assert next(r for r in proxy.state().rules if r["id"] == flip)["applied"] == 1
    m.kill_workers()
    proxy.release("look", "drop")
    thread.join(60)
    assert bucket.get("p/f.bin") == pattern(5000, 1)
    m.check()


def test_switched_off(mount, proxy, bucket):
    m = mount(via=proxy, env={"AWS_REQUEST_CHECKSUM_CALCULATION": "WHEN_REQUIRED",
                              "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required"})
    (m.path / "f.txt").write_bytes(b"content")
    with open(m.path / "f.txt", "ab") as f:
        f.write(b"more")
    assert bucket.get(m.key("f.txt")) == b"contentmore"
    assert not [n for x in proxy.log() for n in x.headers if n.startswith("x-amz-checksum")]
