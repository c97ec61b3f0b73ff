"""What goes with the objects: types, encryption, classes, tags, and what others have set."""

import os
import urllib.parse

import pytest

HEADERS = {"CacheControl": "max-age=60", "ContentDisposition": 'attachment; filename="x"',
           "ContentEncoding": "gzip", "ContentLanguage": "de", "ContentType": "image/x-own"}
VARIANTS = ["s3-buffered-lww", "s3-buffered-cas"]


def type_of(bucket, key):
    return bucket.head(key)["ContentType"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_types(mount, bucket, variant):
    m = mount(variant=variant)
    for name, want in {"a.txt": "text/plain", "b.JSON": "application/json", "c": "binary/octet-stream",
                       ".txt": "binary/octet-stream", "d.tar.gz": "application/gzip",
                       "e.unknown-suffix": "binary/octet-stream"}.items():
        (m.path / name).write_bytes(b"x")
        assert type_of(bucket, m.key(name)) == want, name
    (m.path / "new.tmp").write_bytes(b"<p>")
    os.rename(m.path / "new.tmp", m.path / "new.html")
    assert type_of(bucket, m.key("new.html")) == "text/html"
    bucket.put(m.key("own.txt"), b"x", ContentType="image/x-own")
    os.rename(m.path / "own.txt", m.path / "own.html")
    assert type_of(bucket, m.key("own.html")) == "image/x-own"
    (m.path / "own.html").write_bytes(b"other")
    assert type_of(bucket, m.key("own.html")) == "image/x-own"
    os.chmod(m.path / "own.html", 0o600)
    assert type_of(bucket, m.key("own.html")) == "image/x-own"


def test_types_off(mount, bucket):
    m = mount(env={"STATEPROXY_METADATA_CONTENT_TYPE": "off"})
    (m.path / "a.txt").write_bytes(b"x")
    assert type_of(bucket, m.key("a.txt")) == "binary/octet-stream"


def kept(bucket, key, without=()):
    head = bucket.head(key)
    for name, value in HEADERS.items():
        assert head.get(name) == (None if name in without else value), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_headers_of_others_survive(mount, bucket, variant):
    m = mount(variant=variant)
    path, key = m.path / "f.bin", m.key("f.bin")
    bucket.put(key, b"data", Metadata={"colour": "blue"}, **HEADERS)
    with open(path, "ab") as f:
        f.write(b"more")
    kept(bucket, key)
    assert bucket.get(key) == b"datamore"
    os.chmod(path, 0o640)
    kept(bucket, key)
    os.rename(path, m.path / "g.html")
    path, key = m.path / "g.html", m.key("g.html")
    kept(bucket, key)
    assert bucket.head(key)["Metadata"]["colour"] == "blue"
    path.write_bytes(b"wholly new")         # as it was coded says nothing of these bytes
    kept(bucket, key, without=["ContentEncoding"])
    with open(path, "r+b") as f:
        f.write(b"W")
    kept(bucket, key, without=["ContentEncoding"])
    os.truncate(path, 3)
    kept(bucket, key, without=["ContentEncoding"])
    assert bucket.get(key) == b"Who"


def test_directory_rename_keeps_headers(mount, bucket):
    m = mount()
    (m.path / "d").mkdir()
    bucket.put(m.key("d/f.bin"), b"data", **HEADERS)
    os.rename(m.path / "d", m.path / "e")
    kept(bucket, m.key("e/f.bin"))


def sent(proxy, **match):
    return [x.headers for x in proxy.log() if all(getattr(x, n) == v for n, v in match.items())]


def test_headers_of_every_request(mount, proxy, bucket):
    """Owner and payer; class, ACL, tags, Cache-Control and encryption with what is written."""
    env = {"STATEPROXY_S3_EXPECTED_BUCKET_OWNER": "123456789012",
           "STATEPROXY_S3_REQUESTER_PAYS": "true", "STATEPROXY_S3_STORAGE_CLASS": "STANDARD_IA",
           "STATEPROXY_S3_ACL": "bucket-owner-full-control", "STATEPROXY_S3_TAGS": "a=b&c=%20d",
           "STATEPROXY_S3_CACHE_CONTROL": "max-age=5", "STATEPROXY_S3_SSE": "kms",
           "STATEPROXY_S3_SSE_KMS_KEY_ID": "alias/k", "STATEPROXY_S3_SSE_BUCKET_KEY": "on"}
    # the server knows none of this: it does not see it
    proxy.add_rule("strip", headers=["x-amz-expected-bucket-owner", "x-amz-storage-class",
                                     "x-amz-source-expected-bucket-owner", "x-amz-acl",
                                     "x-amz-server-side-encryption",
                                     "x-amz-server-side-encryption-aws-kms-key-id",
                                     "x-amz-server-side-encryption-bucket-key-enabled"])
    m = mount(via=proxy, env=env)
    (m.path / "f.txt").write_bytes(b"x")
    (m.path / "f.txt").read_bytes()
    os.chmod(m.path / "f.txt", 0o600)
    os.rename(m.path / "f.txt", m.path / "g.txt")
    os.unlink(m.path / "g.txt")
    ops = {x.op for x in proxy.log()}
    assert {"GetObject", "PutObject", "CopyObject", "DeleteObject", "ListObjectsV2"} <= ops
    for x in proxy.log():
        assert x.headers["x-amz-expected-bucket-owner"] == "123456789012", x
        assert x.headers["x-amz-request-payer"] == "requester", x
        writes = x.op in ("PutObject", "CopyObject")
        assert x.headers.get("x-amz-storage-class") == ("STANDARD_IA" if writes else None), x
        assert x.headers.get("x-amz-acl") == ("bucket-owner-full-control" if writes else None), x
        assert x.headers.get("x-amz-server-side-encryption") == ("aws:kms" if writes else None), x
        assert (x.headers.get("x-amz-source-expected-bucket-owner") is not None) == \
            (x.op == "CopyObject"), x
    put = sent(proxy, op="PutObject")[0]
    assert put["x-amz-tagging"] == "a=b&c=%20d"
    assert put["cache-control"] == "max-age=5"
    assert put["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/k"
    assert put["x-amz-server-side-encryption-bucket-key-enabled"] == "true"


def test_tags_may_not_be_copied(mount, proxy, bucket):
    """A copy that is refused for its tags is made without them, and one line says so."""
    m = mount(via=proxy, workers=1)
    (m.path / "f").write_bytes(b"x")
    (m.path / "g").write_bytes(b"x")
    proxy.add_rule("answer", status=403, code="AccessDenied", op="CopyObject",
                   having={"x-amz-tagging-directive": None, "if-match": "*"})
    os.chmod(m.path / "f", 0o600)
    os.chmod(m.path / "g", 0o600)
    assert m.log().count("trait=no-tags") == 1
    assert len([x for x in proxy.log(op="CopyObject") if x.status == 403]) == 1


TAGS = {"team": "blue", "a b/c=@+": "x =y+/:", "empty": ""}
TAGGED = {"Tagging": urllib.parse.urlencode(TAGS, quote_via=urllib.parse.quote)}
LARGE = {"STATEPROXY_UPLOAD_MULTIPART_THRESHOLD": "5Mi", "STATEPROXY_UPLOAD_PART_SIZE": "5Mi"}


def tags_of(bucket, key):
    answer = bucket.client.get_object_tagging(Bucket=bucket.bucket, Key=key)
    return {x["Key"]: x["Value"] for x in answer["TagSet"]}


def append(path):
    with open(path, "ab") as f:
        f.write(b"more")


def change(path):
    fd = os.open(path, os.O_RDWR)
    os.pwrite(fd, b"X", 1)
    os.close(fd)


def overwrite(path):
    path.write_bytes(b"new")


def overwrite_with_much(path):
    path.write_bytes(bytes(6 << 20))


def other_mode(path):
    os.chmod(path, 0o640)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("how", [append, change, overwrite, overwrite_with_much, other_mode])
@pytest.mark.parametrize("size", [4, 6 << 20])
def test_tags_survive(mount, proxy, bucket, variant, how, size):
    """A rename keeps them, too."""
    m = mount(via=proxy, variant=variant, env=LARGE)
    path, key = m.path / "f.bin", m.key("f.bin")
    bucket.put(key, bytes(size), **TAGGED)
    how(path)
    assert tags_of(bucket, key) == TAGS
    os.rename(path, m.path / "g")
    assert tags_of(bucket, m.key("g")) == TAGS
    assert m.path.joinpath("g").read_bytes() == bucket.get(m.key("g"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_tags_survive_again_and_again(mount, bucket, variant):
    """What the mount has written has tags, though no answer has said so."""
    m = mount(variant=variant)
    path, key = m.path / "f", m.key("f")
    bucket.put(key, b"data", **TAGGED)
    with open(path, "ab", buffering=0) as f:
        for _ in range(3):
            f.write(b"more")
            os.fsync(f.fileno())
            assert tags_of(bucket, key) == TAGS
        os.fchmod(f.fileno(), 0o640)
        f.write(b"more")
    assert tags_of(bucket, key) == TAGS
    for how in (append, overwrite, other_mode, change, append):
        how(path)
        assert tags_of(bucket, key) == TAGS
    os.rename(path, m.path / "g")
    append(m.path / "g")
    assert tags_of(bucket, m.key("g")) == TAGS


@pytest.mark.parametrize("size", [1000, 3 << 20])
def test_a_copy_onto_a_file_with_tags(mount, bucket, size):
    """The target's stay; a new file has none of the source's."""
    m = mount()
    bucket.put(m.key("from"), bytes(size), Tagging="source=1")
    bucket.put(m.key("to"), b"old", **TAGGED)
    for name, tags in (("to", TAGS), ("new", {})):
        with open(m.path / "from", "rb") as a, open(m.path / name, "wb") as b:
            assert os.copy_file_range(a.fileno(), b.fileno(), size) == size
        assert tags_of(bucket, m.key(name)) == tags
        assert bucket.get(m.key(name)) == bytes(size)


def test_tags_survive_a_copy_in_parts(mount, bucket):
    """Of a file, and of one below a directory."""
    m = mount(env={**LARGE, "STATEPROXY_UPLOAD_COPY_LIMIT": "5Mi"})
    bucket.put(m.key("d/f"), bytes(6 << 20), **TAGGED)
    os.rename(m.path / "d", m.path / "e")
    assert tags_of(bucket, m.key("e/f")) == TAGS
    os.rename(m.path / "e/f", m.path / "g")
    assert tags_of(bucket, m.key("g")) == TAGS


def test_the_class_survives_the_rename_of_a_directory(mount, proxy, bucket):
    """It is the listing's, so no request more is made; archives are left alone, and so is the default."""
    classes = {"a": "STANDARD_IA", "b": "STANDARD", "c": "GLACIER", "d%2B": "INTELLIGENT_TIERING"}
    kept = {"a": "STANDARD_IA", "b": None, "c": None, "d%2B": "INTELLIGENT_TIERING"}
    m = mount(via=proxy)
    bucket.put(m.key("d/"))
    for name in classes:
        bucket.put(m.key(f"d/{name}"), b"x")
    proxy.add_rule("habit", op="ListObjectsV2", key=m.key("d/"), classes=["STANDARD", *classes.values()])
    proxy.add_rule("strip", headers=["x-amz-storage-class"])
    os.rename(m.path / "d", m.path / "e")
    for name, storage_class in kept.items():
        sent = [x.headers.get("x-amz-storage-class") for x in proxy.log(key=m.key(f"e/{name}"))
                if x.op == "CopyObject"]
        assert sent == [storage_class], name


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_tags_no_question(mount, proxy, bucket, variant):
    m = mount(via=proxy, variant=variant)
    bucket.put(m.key("f"), b"data", CacheControl="max-age=60")
    append(m.path / "f")
    overwrite(m.path / "f")
    assert "GetObjectTagging" not in proxy.counts()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("op, having", [("GetObjectTagging", {}), ("PutObject", {"x-amz-tagging": "*"})])
def test_tags_may_not_be_kept(mount, proxy, bucket, variant, op, having):
    """Nothing fails for them, and one line says what to permit."""
    m = mount(via=proxy, variant=variant, workers=1)
    proxy.add_rule("answer", status=403, code="AccessDenied", op=op, having=having)
    for name in "fg":
        bucket.put(m.key(name), b"data", **TAGGED)
        append(m.path / name)
        assert bucket.get(m.key(name)) == b"datamore"
        assert tags_of(bucket, m.key(name)) == {}
    assert m.log().count("trait=no-tags") == 1
    assert len([x for x in proxy.log(op=op) if x.status == 403]) == 1


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 200, "body": "<html><body>no</body></html>"},
                                   {"status": 200, "body": "<Tagging><TagSet><Tag><Key>a"}])
def test_tags_that_cannot_be_asked_now(mount, proxy, bucket, variant, fault):
    """The close fails, and what is published stays: tags decide who may read, and how long it is kept."""
    m = mount(via=proxy, variant=variant, env={"STATEPROXY_S3_DEADLINE": "2s"})
    key = m.key("f")
    bucket.put(key, b"data", **TAGGED)
    rule = proxy.add_rule("answer", op="GetObjectTagging", **fault)
    with pytest.raises(OSError), open(m.path / "f", "ab", buffering=0) as f:
        f.write(b"more")
    assert bucket.get(key) == b"data" and tags_of(bucket, key) == TAGS
    proxy.remove_rule(rule)
    append(m.path / "f")
    assert bucket.get(key) == b"datamore" and tags_of(bucket, key) == TAGS


def test_tags_that_do_not_fit(mount, bucket):
    m = mount()
    bucket.put(m.key("f"), b"data", **TAGGED)
    bucket.client.put_object_tagging(Bucket=bucket.bucket, Key=m.key("f"), Tagging={
        "TagSet": [{"Key": f"k{i}" + ":" * 100, "Value": "/" * 200} for i in range(10)]})
    append(m.path / "f")
    assert bucket.get(m.key("f")) == b"datamore"
    assert "tags dropped" in m.log()


def test_class_and_encryption_of_the_object_survive(mount, proxy, bucket):
    """A copy loses them by itself, so they are sent again; also with new content."""
    bucket.put("p/f", b"x")
    for status in (200, 206):
        proxy.add_rule("rewrite", op=["GetObject", "HeadObject"], status=status,
                       from_status=status, key="p/f",
                       headers={"x-amz-storage-class": "INTELLIGENT_TIERING",
                                "x-amz-server-side-encryption": "aws:kms",
                                "x-amz-server-side-encryption-aws-kms-key-id":
                                    "arn:aws:kms:r:1:key/k"})
    proxy.add_rule("strip", headers=["x-amz-storage-class", "x-amz-server-side-encryption",
                                     "x-amz-server-side-encryption-aws-kms-key-id"])
    m = mount(via=proxy, prefix="p")
    (m.path / "f").write_bytes(b"new")
    os.rename(m.path / "f", m.path / "g")
    writes = [x for x in proxy.log() if x.op in ("PutObject", "CopyObject")]
    assert {x.op for x in writes} == {"PutObject", "CopyObject"}
    for x in writes:
        assert x.headers.get("x-amz-storage-class") == "INTELLIGENT_TIERING", x
        assert x.headers["x-amz-server-side-encryption"] == "aws:kms", x
        assert x.headers["x-amz-server-side-encryption-aws-kms-key-id"] == "arn:aws:kms:r:1:key/k"


SSE = "x-amz-server-side-encryption"
KMS = {SSE: "aws:kms", SSE + "-aws-kms-key-id": "arn:aws:kms:r:1:key/k"}


def copies_of(proxy, name):
    return [{k: v for k, v in x.headers.items() if k.startswith(SSE)} for x in proxy.log(key=name)
            if x.op == "CopyObject"]


def test_encryption_of_the_object_survives_the_rename_of_a_directory(mount, proxy, bucket):
    """A listing does not tell it: once the mount has met such an object each key is asked for, as a file is."""
    names = ["p/d/a.txt", "p/d/sub/b.txt", "p/d/plain.txt"]
    for name in ["p/f.txt", *names]:
        bucket.put(name, b"x")
    for status in (200, 206):
        for key in "p/f.txt", "p/?/a.txt", "p/?/sub/b.txt":
            proxy.add_rule("rewrite", op=["GetObject", "HeadObject"], status=status, from_status=status, key=key,
                           headers=KMS)
    proxy.add_rule("strip", headers=list(KMS))
    m = mount(via=proxy, prefix="p", workers=1)
    os.rename(m.path / "d", m.path / "e")
    assert all(copies_of(proxy, n.replace("/d/", "/e/")) == [{}] for n in names), "nothing was known"
    assert not [x for x in proxy.log(op="HeadObject") if x.key.startswith("p/d/") and x.key in names]
    (m.path / "new.txt").write_bytes(b"y")          # tells what the bucket does by itself
    (m.path / "f.txt").read_bytes()
    os.rename(m.path / "e", m.path / "d")
    for name in names:
        assert copies_of(proxy, name) == [{} if "plain" in name else KMS], name
    os.rename(m.path / "f.txt", m.path / "g.txt")
    assert copies_of(proxy, "p/g.txt") == [KMS], "as of a file"


def test_encryption_of_the_configuration_at_the_rename_of_a_directory(mount, proxy, bucket):
    wanted = {**KMS, SSE + "-bucket-key-enabled": "true"}
    proxy.add_rule("strip", headers=list(wanted))
    m = mount(via=proxy, env={"STATEPROXY_S3_SSE": "kms", "STATEPROXY_S3_SSE_KMS_KEY_ID": KMS[SSE + "-aws-kms-key-id"],
                              "STATEPROXY_S3_SSE_BUCKET_KEY": "on"})
    bucket.put(m.key("d/a.txt"), b"x")
    os.rename(m.path / "d", m.path / "e")
    os.rename(m.path / "e/a.txt", m.path / "b.txt")
    assert copies_of(proxy, m.key("e/a.txt")) == copies_of(proxy, m.key("b.txt")) == [wanted]


def test_archived(mount, proxy, bucket):
    """It can be looked at and removed; reading it fails with EACCES, and one line says what to do."""
    for name in ("a.txt", "b.txt"):
        bucket.put(f"p/{name}", b"x" * 10)
    proxy.add_rule("answer", status=403, code="InvalidObjectState", op="GetObject", key="p/*.txt")
    m = mount(via=proxy, prefix="p")
    assert os.stat(m.path / "a.txt").st_size == 10
    with pytest.raises(PermissionError):
        (m.path / "a.txt").read_bytes()
    assert "because it is archived key=\"p/a.txt\"" in m.log()
    os.unlink(m.path / "a.txt")
    (m.path / "b.txt").write_bytes(b"new")
    assert bucket.list() == {"p/b.txt": 3}
    assert bucket.get("p/b.txt") == b"new"
