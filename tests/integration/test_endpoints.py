"""Where the bucket is: the region that the server tells, what --check says, buckets that enforce conditions,
the least permissions."""

import os
import subprocess

import pytest

from harness import DAEMON, util
from harness.pattern import pattern
from harness.s3 import S3

VARIANTS = ["s3-buffered-lww", "s3-buffered-cas"]
BASE = {"STATE_MOUNT": "/mnt/x", "AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret"}


def check(**env):
    done = subprocess.run([DAEMON, "--check"], env=util.clean_env(**BASE, **env), text=True,
                          capture_output=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("env, endpoint, region", [
    ({"STATE_BUCKET": "bkt", "AWS_REGION": "eu-west-1"},
     "https://bkt.s3.eu-west-1.amazonaws.com", "eu-west-1"),
    ({"STATE_BUCKET": "bkt", "AWS_REGION": "auto", "AWS_USE_DUALSTACK_ENDPOINT": "true"},
     "https://bkt.s3.dualstack.us-east-1.amazonaws.com", "us-east-1 (asked"),
    ({"STATE_BUCKET": "bkt", "AWS_REGION": "us-gov-west-1", "AWS_USE_FIPS_ENDPOINT": "true"},
     "https://bkt.s3-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
    ({"STATE_BUCKET": "arn:aws:s3:us-west-2:123456789012:accesspoint/my-point"},
     "https://my-point-123456789012.s3-accesspoint.us-west-2.amazonaws.com", "us-west-2"),
    ({"STATE_BUCKET": "bkt", "AWS_ENDPOINT_URL": "https://x.r2.cloudflarestorage.com",
      "AWS_REGION": "auto"}, "https://x.r2.cloudflarestorage.com/bkt", "auto"),
    ({"STATE_BUCKET": "bkt", "AWS_ENDPOINT_URL": "http://[::1]:9000/base"},
     "http://[::1]:9000/base/bkt", "us-east-1"),
])
def test_check_tells_the_endpoint(env, endpoint, region):
    code, out = check(**env)
    assert code == 0, out
    assert f"endpoint: {endpoint}\n" in out
    assert f"region: {region}" in out


@pytest.mark.parametrize("env, says", [
    ({"STATEPROXY_S3_FIPS": "true", "AWS_ENDPOINT_URL": "http://h"}, "s3.fips"),
    ({"STATEPROXY_S3_FIPS": "true", "AWS_REGION": "cn-north-1"}, "aws-cn"),
    ({"STATE_BUCKET": "bkt--use1-az4--x-s3"}, "directory bucket"),
    ({"STATE_BUCKET": "arn:aws:s3:::bkt"}, "the bucket's name alone"),
    ({"STATEPROXY_S3_EXPECTED_BUCKET_OWNER": "12345"}, "12 digits"),
    ({"STATEPROXY_S3_SSE": "customer"}, "STATEPROXY_S3_SSE_CUSTOMER_KEY"),
    ({"STATEPROXY_S3_SSE": "customer", "STATEPROXY_S3_SSE_CUSTOMER_KEY": "A" * 43 + "=",
      "AWS_ENDPOINT_URL": "http://h"}, "https://"),
    ({"STATEPROXY_S3_SSE_KMS_KEY_ID": "abc"}, "kms"),
    ({"STATEPROXY_S3_SSE_BUCKET_KEY": "on"}, "kms"),
    ({"STATEPROXY_S3_ACL": "public"}, "bucket-owner-full-control"),
    ({"STATEPROXY_S3_TAGS": "a"}, "name=value"),
    ({"STATEPROXY_S3_STORAGE_CLASS": "standard"}, "STANDARD_IA"),
    ({"STATEPROXY_METADATA_CONTENT_TYPE": "guess"}, "suffix or off"),
])
def test_check_refuses(env, says):
    code, out = check(**{"STATE_BUCKET": "bkt", **env})
    assert code == 78, out
    assert says in out


def test_the_key_of_a_file_is_checked(scratch):
    path = scratch / "key"
    env = {"STATE_BUCKET": "bkt", "STATEPROXY_S3_SSE": "customer",
           "STATEPROXY_S3_SSE_CUSTOMER_KEY_FILE": str(path)}
    assert check(**env)[0] == 78
    path.write_bytes(os.urandom(31))
    code, out = check(**env)
    assert code == 78 and "not a key" in out
    for good in (bytes(range(32)), b"QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\n"):
        path.write_bytes(good)
        assert check(**env)[0] == 0


def refused_regions(proxy):
    return [x for x in proxy.log() if x.status == 400]


def test_region_is_learned_at_the_start(mount, proxy, bucket):
    """One refusal, one line; workers and their successors sign for the right one from the start."""
    m = mount(via=proxy, workers=2, env={"AWS_REGION": "eu-west-7"})
    assert len(refused_regions(proxy)) == 1
    (m.path / "f").write_bytes(b"x")
    m.kill_workers()
    assert (m.path / "f").read_bytes() == b"x"
    assert len(refused_regions(proxy)) == 1
    assert m.log().count("the bucket is in another region") == 1
    assert bucket.get(m.key("f")) == b"x"


def test_region_is_learned_while_it_runs(mount, own_server, make_proxy):
    """The keeper is asked for keys of the other region; no program notices."""
    s3 = S3(own_server.endpoint, "moves", own_server.root).create()
    proxy = make_proxy(own_server.port)
    m = mount(s3=s3, via=proxy, workers=2)
    (m.path / "f").write_bytes(b"x" * 100)
    own_server.stop()
    own_server.extra_args += ["--region", "eu-west-7"]
    own_server.start()
    for i in range(10):
        (m.path / f"g{i}").write_bytes(b"%d" % i)
        assert (m.path / "f").read_bytes() == b"x" * 100
    assert m.log().count("the bucket is in another region") == 1
    assert len(refused_regions(proxy)) <= 2 * 2, "a worker is refused again and again"
    assert (own_server.root / "moves/p/g9").read_bytes() == b"9"


# ---- permissions ----

ALLOWED = ["GetObject", "HeadObject", "PutObject", "DeleteObject", "ListObjectsV2", "CopyObject",
           "CreateMultipartUpload", "UploadPart", "UploadPartCopy", "CompleteMultipartUpload"]
OTHERS = ["HeadBucket", "AbortMultipartUpload", "DeleteObjects", "Other"]


def use_all(m, variant):
    """What the README promises."""
    p = m.path
    (p / "d").mkdir()
    (p / "d/a.txt").write_bytes(b"one")
    with open(p / "d/a.txt", "ab") as f:
        f.write(b" two")
    assert (p / "d/a.txt").read_bytes() == b"one two"
    os.chmod(p / "d/a.txt", 0o600)
    os.chmod(p / "d", 0o700)
    os.utime(p / "d/a.txt", (1, 2))
    os.setxattr(p / "d/a.txt", "user.x", b"y")
    os.rename(p / "d/a.txt", p / "d/b.html")
    (p / "d/c.txt").write_bytes(b"new")
    os.rename(p / "d/c.txt", p / "d/b.html")
    assert (p / "d/b.html").read_bytes() == b"new"
    os.symlink("b.html", p / "d/link")
    assert sorted(os.listdir(p / "d")) == ["b.html", "link"]
    subprocess.run(["cp", p / "d/b.html", p / "copy"], check=True)
    if variant == "s3-buffered-lww":
        os.rename(p / "d", p / "e")
    else:
        (p / "e").mkdir()
        os.rename(p / "d/b.html", p / "e/b.html")
        os.unlink(p / "d/link")
        os.rmdir(p / "d")
    assert (p / "e/b.html").read_bytes() == b"new"
    for name in os.listdir(p / "e"):
        os.unlink(p / "e" / name)
    os.rmdir(p / "e")
    os.unlink(p / "copy")
    assert os.listdir(p) == []


LARGE = {"STATEPROXY_UPLOAD_MULTIPART_THRESHOLD": "10Mi", "STATEPROXY_UPLOAD_PART_SIZE": "5Mi",
         "STATEPROXY_UPLOAD_COPY_LIMIT": "5Mi"}


def use_large(m):
    """The same with what goes in parts, also copies."""
    p, one, two = m.path, pattern(11 << 20, 1), pattern(12 << 20, 2)
    (p / "a.bin").write_bytes(two)
    (p / "a.bin").write_bytes(one)
    subprocess.run(["cp", p / "a.bin", p / "b.bin"], check=True)
    os.rename(p / "a.bin", p / "c.bin")
    os.chmod(p / "c.bin", 0o600)
    (p / "b.bin").write_bytes(two)
    os.rename(p / "c.bin", p / "b.bin")
    assert (p / "b.bin").read_bytes() == one
    assert sorted(os.listdir(p)) == ["b.bin"]
    (p / "d").mkdir()
    os.rename(p / "b.bin", p / "d/b.bin")
    assert (p / "d/b.bin").read_bytes() == one
    os.unlink(p / "d/b.bin")
    os.rmdir(p / "d")
    assert os.listdir(p) == []


def refuse(proxy, **match):
    proxy.add_rule("answer", status=403, code="AccessDenied", message="the policy says no", **match)


def least_permissions(proxy):
    """GetObject, PutObject, DeleteObject, and ListBucket below the prefix."""
    refuse(proxy, op=OTHERS)
    refuse(proxy, query="*versionId*")
    refuse(proxy, op="ListObjectsV2", key_regex="^(?!p/)")


@pytest.mark.parametrize("variant", VARIANTS)
def test_least_permissions(mount, proxy, bucket, variant):
    least_permissions(proxy)
    m = mount(via=proxy, variant=variant, prefix="p")
    use_all(m, variant)
    assert bucket.list() == {}
    assert [x for x in proxy.log() if x.status == 403] == []
    assert m.errors() == []


def conditions_only(proxy):
    """No change without If-Match or If-None-Match gets through."""
    refuse(proxy, op=["PutObject", "CopyObject", "DeleteObject", "CompleteMultipartUpload"],
           having={"if-match": None, "if-none-match": None})


@pytest.mark.parametrize("variant", VARIANTS)
def test_bucket_that_enforces_conditions(mount, proxy, bucket, variant):
    conditions_only(proxy)
    m = mount(via=proxy, variant=variant, prefix="p",
              env={"STATEPROXY_CAS_PROBE": "off", "STATEPROXY_WORKERS_COUNT": "1"})
    use_all(m, variant)
    assert bucket.list() == {}
    refused = [x for x in proxy.log() if x.status == 403]
    assert len(refused) <= 1, refused       # how it is found out
    assert m.errors() == []


def test_the_probe_of_a_bucket_that_enforces_conditions(mount, proxy, bucket):
    """Its own requests without a condition are refused as well: it finds the same as elsewhere."""
    conditions_only(proxy)
    m = mount(via=proxy, variant="s3-buffered-cas", prefix="p",
              env={"STATEPROXY_CAS_PROBE": "require", "STATEPROXY_WORKERS_COUNT": "1"})
    assert m.status()["conditions"] == "put,complete,delete"
    use_all(m, "s3-buffered-cas")
    assert bucket.list() == {} and m.errors() == []


@pytest.mark.parametrize("policy", [least_permissions, conditions_only])
@pytest.mark.parametrize("variant", [*VARIANTS, "s3-passthrough"])
def test_policies_and_large_files(mount, proxy, bucket, variant, policy):
    """Parts, and copies in parts, whose Complete replaces what is there."""
    policy(proxy)
    m = mount(via=proxy, variant=variant, prefix="p",
              env={**LARGE, "STATEPROXY_CAS_PROBE": "off", "STATEPROXY_WORKERS_COUNT": "1"})
    use_large(m)
    assert proxy.counts()["UploadPartCopy"]
    assert bucket.list() == {} and not bucket.uploads()
    assert len([x for x in proxy.log() if x.status == 403]) <= 1
    assert m.errors() == []


@pytest.mark.parametrize("there", [False, True])
def test_a_copy_in_parts_whose_answer_is_lost(mount, proxy, bucket, there):
    """Where conditions are wanted: what the server did is known by a look, and the version that was there is
    replaced once."""
    conditions_only(proxy)
    m = mount(via=proxy, prefix="p", env={**LARGE, "STATEPROXY_WORKERS_COUNT": "1"})
    data = pattern(6 << 20, 3)
    bucket.put("p/a.bin", data)
    if there:
        bucket.put("p/b.bin", b"old")
    proxy.add_rule("drop", op="CompleteMultipartUpload", times=1, skip=1)    # (the first is refused)
    os.rename(m.path / "a.bin", m.path / "b.bin")
    assert bucket.list() == {"p/b.bin": len(data)}
    assert bucket.get("p/b.bin") == data and not bucket.uploads()
    assert m.errors() == []


def test_real_refusals_stay(mount, proxy, bucket):
    """Who may not write gets EACCES, not a loop."""
    m = mount(via=proxy, prefix="p")
    refuse(proxy, op=["PutObject", "CopyObject", "DeleteObject"])
    proxy.reset_counts()
    with pytest.raises(PermissionError):
        (m.path / "d").mkdir()
    assert proxy.counts()["PutObject"] <= 2
    assert "wants-conditions" not in m.log()
