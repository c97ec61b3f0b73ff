"""Servers that differ from S3, each habit a rule of the proxy: what is written is there, what is read is
what was written, and nothing is refused for the habit's sake."""

import os
import sys
import threading

import pytest

from harness import DAEMON, util
from harness.work import FILE_INCREMENT

pytestmark = pytest.mark.probes

QUOTED = {"if-match": '"*'}
CAS = "s3-buffered-cas"
# (Those of parts are not translated back by the proxy, where Complete lists them.)
WITH_ETAGS = ["GetObject", "HeadObject", "PutObject", "CopyObject", "ListObjectsV2", "DeleteObject",
              "CompleteMultipartUpload"]


def ceph(proxy):
    """If-Match of a PUT counts without quotes only; the ETag of a copy comes without; conditions on
    copies, of Complete and of DELETE are ignored."""
    proxy.add_rule("answer", op="PutObject", having=QUOTED, status=412)
    proxy.add_rule("habit", op="CopyObject", etag="bare", etag_in="xml")
    proxy.add_rule("strip", op="CopyObject", headers=["if-match", "x-amz-copy-source-if-match"])
    proxy.add_rule("strip", op=["CompleteMultipartUpload", "DeleteObject"])
    proxy.add_rule("habit", server="Ceph")


def traits(m):
    """What was learned, beside what versitygw is known for."""
    return ",".join(t for t in m.status()["traits"].split(",") if t != "blind-complete") or "none"


def learned(m, trait):
    return [x for x in m.log().splitlines() if f"server trait learned trait={trait}:" in x]


def overwrite(path, data):
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    os.write(fd, data)
    os.close(fd)


def change_all(m, bucket, name="f.txt"):
    """All that needs a condition: overwrites, appends, truncation, metadata, renames, removal."""
    path, key = m.path / name, m.key(name)
    path.write_bytes(b"one")
    overwrite(path, b"two")
    assert bucket.get(key) == b"two" == path.read_bytes()
    with open(path, "ab") as f:
        f.write(b" more")
    assert bucket.get(key) == b"two more"
    os.truncate(path, 3)
    assert bucket.get(key) == b"two" == path.read_bytes()
    for mode in (0o600, 0o640, 0o644):
        os.chmod(path, mode)
        assert os.stat(path).st_mode & 0o777 == mode
    os.utime(path, (1e9, 1e9))
    os.utime(path, (2e9, 2e9))
    assert os.stat(path).st_mtime == 2e9 and path.read_bytes() == b"two"
    overwrite(path, b"three")
    assert bucket.get(key) == b"three"
    os.rename(path, str(path) + ".new")
    assert bucket.get(key + ".new") == b"three" and not bucket.exists(key)
    overwrite(str(path) + ".new", b"four")
    os.rename(str(path) + ".new", path)
    assert bucket.get(key) == b"four" == path.read_bytes()
    os.unlink(path)
    assert not bucket.exists(key)


# -- If-Match without quotes


@pytest.mark.parametrize("workers", [1, 3])
def test_ceph(mount, proxy, bucket, workers):
    ceph(proxy)
    m = mount(via=proxy, workers=workers)
    assert 'server="Ceph" conditions=unknown traits=none' in m.log()
    for i in range(3):
        change_all(m, bucket, f"f{i}.txt")
    assert len(learned(m, "unquoted-if-match")) == 1
    assert m.status()["traits"] == "unquoted-if-match" and m.status()["server"] == "Ceph"
    assert " err " not in m.log() and " warn " not in m.log()

    proxy.reset_counts()
    (m.path / "g.txt").write_bytes(b"1")
    overwrite(m.path / "g.txt", b"2")
    assert proxy.counts()["PutObject"] == 2             # learned once, for all


def test_who_is_only_slower_teaches_nothing(mount, proxy, bucket):
    """Another writer was faster: the condition failed, and HEAD shows another version."""
    m = mount(via=proxy)
    path = m.path / "f.txt"
    path.write_bytes(b"1")
    for i in range(5):
        with open(path, "r+b") as f:
            f.write(b"mine %d" % i)
            bucket.put(m.key("f.txt"), b"theirs %d" % i)
        assert bucket.get(m.key("f.txt")) == b"mine %d" % i
    assert "learned" not in m.log() and traits(m) == "none"


@pytest.mark.parametrize("status, code", [(412, None), (400, "InvalidArgument"), (501, None),
                                          (404, "NoSuchKey")])
def test_if_match_is_never_right(mount, proxy, bucket, status, code):
    proxy.add_rule("answer", op="PutObject", having={"if-match": "*"}, status=status, code=code)
    m = mount(via=proxy)
    for i in range(2):
        change_all(m, bucket, f"f{i}.txt")
    assert len(learned(m, "no-put-conditions")) == 1


@pytest.mark.parametrize("status", [412, 501])
def test_if_none_match_is_never_right(mount, proxy, bucket, status):
    proxy.add_rule("answer", op="PutObject", having={"if-none-match": "*"}, status=status)
    change_all(mount(via=proxy), bucket)


@pytest.mark.parametrize("status", [400, 405, 412, 501])
def test_conditions_of_delete(mount, proxy, bucket, status):
    proxy.add_rule("answer", op="DeleteObject", having={"if-match": "*"}, status=status,
                   code="InvalidRequest" if status == 400 else None)
    m = mount(via=proxy)
    for i in range(2):
        change_all(m, bucket, f"f{i}.txt")
    os.mkdir(m.path / "d")
    (m.path / "d" / "x").write_bytes(b"x")
    os.rename(m.path / "d", m.path / "e")
    assert bucket.get(m.key("e/x")) == b"x" and not bucket.exists(m.key("d/x"))
    assert len(learned(m, "no-delete-conditions")) == 1


def test_one_upload_learns_while_another_waits(mount, proxy, bucket):
    """The other was sent with a condition, whatever is known by the time of its answer."""
    for name in ("a", "b"):
        bucket.put(f"p/{name}", b"old")
    proxy.hold("later", op="PutObject", key="p/b", nth=1)
    proxy.add_rule("answer", op="PutObject", having={"if-match": "*"}, status=501)
    m = mount(via=proxy, workers=1)
    thread = threading.Thread(target=overwrite, args=(m.path / "b", b"new"))
    thread.start()
    proxy.wait_held("later")
    overwrite(m.path / "a", b"new")
    util.wait_until(lambda: learned(m, "no-put-conditions"))
    proxy.release("later")
    thread.join(30)
    assert bucket.get("p/a") == bucket.get("p/b") == b"new"
    assert not m.errors()


def test_one_delete_learns_while_another_waits(mount, proxy, bucket):
    """... of a directory that is renamed."""
    for name in ("a", "b"):
        bucket.put(f"p/d/{name}", b"text")
        proxy.hold(name, op="DeleteObject", key=f"p/d/{name}", nth=1)
    proxy.add_rule("answer", op="DeleteObject", having={"if-match": "*"}, status=501)
    m = mount(via=proxy, workers=1)
    thread = threading.Thread(target=os.rename, args=(m.path / "d", m.path / "e"))
    thread.start()
    proxy.wait_held("a")
    proxy.wait_held("b")
    proxy.release("a")
    util.wait_until(lambda: not bucket.exists("p/d/a"))
    proxy.release("b")
    thread.join(30)
    assert sorted(bucket.list("p/")) == ["p/e/a", "p/e/b"]
    assert sorted(os.listdir(m.path / "e")) == ["a", "b"] and not (m.path / "d").exists()


# -- compare-and-set never learns to overwrite


@pytest.mark.parametrize("status", [412, 501, 400])
def test_cas_is_not_taught_in_use(mount, proxy, bucket, status):
    """Whatever a server says to a condition: a write that expects a version is never sent without."""
    m = mount(via=proxy, variant=CAS, env={"STATEPROXY_CAS_PROBE": "off"})
    path = m.path / "f.txt"
    path.write_bytes(b"1")
    proxy.add_rule("answer", op="PutObject", having={"if-match": "*"}, status=status,
                   code="InvalidArgument" if status == 400 else None)
    proxy.reset_counts()
    for _ in range(4):
        with pytest.raises(OSError):
            overwrite(path, b"2")
        path.read_bytes()
    assert bucket.get(m.key("f.txt")) == b"1"
    puts = proxy.log("PutObject")
    assert puts and all('"' in x.conditions["if-match"] for x in puts)
    assert "learned" not in m.log()


# -- how ETags are written


@pytest.mark.parametrize("variant", ["s3-buffered-lww", CAS])
@pytest.mark.parametrize("form", ["bare", "weak", "upper"])
@pytest.mark.parametrize("where", ["all", "xml", "headers"])
def test_forms_of_etags(mount, proxy, bucket, form, where, variant):
    proxy.add_rule("habit", op=WITH_ETAGS, etag=form, etag_in=where)
    m = mount(via=proxy, variant=variant)
    change_all(m, bucket)
    (m.path / "listed.txt").write_bytes(b"1")
    assert os.listdir(m.path) == ["listed.txt"]
    for _ in range(2):
        assert (m.path / "listed.txt").read_bytes() == b"1"
    assert proxy.log("GetObject")[-1].status == 304         # the same version, however it is written
    assert " err " not in m.log() and " warn " not in m.log()


# -- conditions on copies


@pytest.mark.parametrize("variant", ["s3-buffered-lww", CAS])
@pytest.mark.parametrize("header", ["if-match", "x-amz-copy-source-if-match"])
@pytest.mark.parametrize("status", [501, 400])
def test_conditions_on_copies(mount, proxy, bucket, header, status, variant):
    proxy.add_rule("answer", op="CopyObject", having={header: "*"}, status=status,
                   code="NotImplemented")
    m = mount(via=proxy, variant=variant)
    for i in range(2):
        change_all(m, bucket, f"f{i}.txt")
    trait = "no-copy-target-conditions" if header == "if-match" else "no-copy-source-conditions"
    assert len(learned(m, trait)) == 1
    refused = [x for x in proxy.log("CopyObject") if x.status == status and x.key.startswith(m.key("f"))]
    assert 1 <= len(refused) <= 2


def test_a_copy_without_conditions_is_of_the_version_that_is_meant(mount, proxy, bucket):
    """HEAD looks in place of the condition: what somebody else has written is not renamed unseen."""
    proxy.add_rule("answer", op="CopyObject", having={"x-amz-copy-source-if-match": "*"}, status=501)
    m = mount(via=proxy)
    path = m.path / "f.txt"
    path.write_bytes(b"1")
    os.chmod(path, 0o600)                                   # learned
    proxy.hold("before the HEAD", op="HeadObject")
    done = threading.Thread(target=lambda: os.chmod(path, 0o640))
    done.start()
    proxy.wait_held("before the HEAD")
    bucket.put(m.key("f.txt"), b"another")
    proxy.release("before the HEAD")
    done.join()
    assert path.read_bytes() == b"another"


# -- an answer that a server which keeps conditions does not give


def python(code, *args):
    return util.spawn([sys.executable, "-c", code, *args])


def contradictions(m):
    return m.status()["counters"]["contradictions"]


def told_once(m):
    return len([x for x in m.log().splitlines()
                if "the server no longer enforces conditions as it did" in x]) == 1


def test_two_writers_are_both_told_success(mount, proxy, bucket, scratch):
    """It was right when it was tried. Then two processes write at once, and neither hears of the other."""
    m = mount(via=proxy, variant=CAS, env={"STATEPROXY_CAS_STATE_DIR": scratch})
    assert len(list(scratch.glob("probe-*"))) == 1
    bucket.put(m.key("f.txt"), b"0")
    proxy.add_rule("strip", op="PutObject", headers=["if-match"])
    proxy.hold("both", op="PutObject", key=m.key("f.txt"))
    writers = [python(
        "import os, sys; p = sys.argv[1]; fd = os.open(p, os.O_RDWR); os.read(fd, 9);"
        "os.pwrite(fd, sys.argv[2].encode(), 0); os.close(fd)", m.path / "f.txt", str(i))
        for i in (1, 2)]
    proxy.wait_held("both", 2)
    proxy.clear_rules()
    proxy.add_rule("strip", op="PutObject", headers=["if-match"])
    for w in writers:
        util.finish(w)
    assert contradictions(m) == 1 and told_once(m)
    assert traits(m) == "contradicts"
    assert not list(scratch.glob("probe-*"))                  # the next start tries again

    # from now on each write looks first: the server that ignores conditions overwrites nothing
    path = m.path / "f.txt"
    assert path.read_bytes() in (b"1", b"2")
    bucket.put(m.key("f.txt"), b"theirs")
    with pytest.raises(FileExistsError):
        overwrite(path, b"mine")
    assert bucket.get(m.key("f.txt")) == b"theirs"
    path.read_bytes()
    overwrite(path, b"mine")
    assert bucket.get(m.key("f.txt")) == b"mine"
    new = os.open(m.path / "new.txt", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.close(new)
    assert contradictions(m) == 1


def test_what_holds_is_refused(mount, proxy, bucket):
    m = mount(via=proxy, variant=CAS)
    path = m.path / "f.txt"
    path.write_bytes(b"1")
    proxy.add_rule("answer", op="PutObject", having={"if-match": "*"}, status=412)
    for i in range(5):
        path.read_bytes()
        with pytest.raises(FileExistsError):
            overwrite(path, b"2")
        assert contradictions(m) == max(0, i - 1)
    assert told_once(m)
    assert bucket.get(m.key("f.txt")) == b"1"


def test_conflicts_in_a_row_are_no_contradiction(mount, proxy, bucket):
    m = mount(via=proxy, variant=CAS)
    path = m.path / "f.txt"
    path.write_bytes(b"1")
    for i in range(8):
        path.read_bytes()
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
        os.write(fd, b"mine")
        bucket.put(m.key("f.txt"), b"theirs %d" % i)
        with pytest.raises(FileExistsError):
            os.close(fd)
    assert contradictions(m) == 0 and traits(m) == "none"


def test_a_file_that_goes_to_and_fro_is_no_contradiction(mount, bucket):
    """Locks, flags: the same content again and again, by several processes."""
    m = mount(variant=CAS)
    code = """
import os, sys
for i in range(200):
    try:
        os.close(os.open(sys.argv[1] + '/lock', os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except OSError:
        continue
    try:
        with open(sys.argv[1] + '/flag.txt', 'r+b') as f:
            f.write(b'1' if f.read(1) == b'0' else b'0')
    except OSError:
        pass
    os.unlink(sys.argv[1] + '/lock')
"""
    (m.path / "flag.txt").write_bytes(b"0")
    writers = [python(code, m.path) for _ in range(4)]
    for w in writers:
        util.finish(w)
    assert contradictions(m) == 0 and " err " not in m.log()


# -- no ETags


def refused(m, *words, code=78):
    got, errors = m.start_refused(timeout=30)
    assert got == code and len(errors) == 1, (got, errors)
    for word in words:
        assert word in errors[0], errors[0]
    return errors[0]


def test_a_server_without_etags_is_refused(mount, proxy, bucket):
    bucket.put("p/f.txt", b"1")
    proxy.add_rule("habit", etag="none")
    refused(mount(via=proxy, start=False), "tells no ETags", "--keep-etag", proxy.endpoint)


def test_cas_without_etags_is_refused(mount, proxy, bucket):
    proxy.add_rule("habit", etag="none")
    refused(mount(via=proxy, variant=CAS, start=False), "PUT answers without an ETag")


def test_without_etags_nothing_old_is_shown(mount, proxy, bucket):
    """In an empty directory it cannot be known at the start."""
    proxy.add_rule("habit", etag="none")
    m = mount(via=proxy)
    path, key = m.path / "f.txt", m.key("f.txt")
    with pytest.raises(OSError):
        path.write_bytes(b"1")
    assert bucket.get(key) == b"1"                      # and the close has not said that it is there
    assert "the server returns no ETag" in m.log()
    for data in (b"a", b"b"):
        bucket.put(key, data)
        with pytest.raises(OSError):
            path.read_bytes()


def test_etags_are_not_needed_in_listings(mount, proxy, bucket):
    proxy.add_rule("habit", op="ListObjectsV2", etag="none")
    bucket.put("p/g.txt", b"0")
    m = mount(via=proxy)
    change_all(m, bucket)
    for i in range(1, 4):
        assert os.listdir(m.path) == ["g.txt"]
        bucket.put(m.key("g.txt"), b"%d" % i)
        assert (m.path / "g.txt").read_bytes() == b"%d" % i


def test_etags_are_not_needed_in_answers_to_put(mount, proxy, bucket):
    proxy.add_rule("habit", op="PutObject", etag="none")
    m = mount(via=proxy)
    change_all(m, bucket)
    assert " err " not in m.log()


# -- what an answer does not tell, and how it is called


@pytest.mark.parametrize("variant", ["s3-buffered-lww", CAS])
def test_answers_without_content_length(mount, proxy, bucket, variant):
    proxy.add_rule("habit", no_length=True)
    m = mount(via=proxy, variant=variant)
    change_all(m, bucket)
    big = os.urandom(20 << 20)
    for name, data in {"empty.txt": b"", "empty": b"", "small": b"x", "big.bin": big}.items():
        bucket.put(m.key(name), data)
        assert (m.path / name).read_bytes() == data
        assert os.stat(m.path / name).st_size == len(data)
    with open(m.path / "big.bin", "r+b") as f:
        f.write(b"!")
    assert bucket.get(m.key("big.bin")) == b"!" + big[1:]
    assert " err " not in m.log() and " warn " not in m.log()


@pytest.mark.parametrize("variant", ["s3-buffered-lww", CAS])
def test_parts_with_the_status_of_a_whole(mount, proxy, bucket, variant):
    """200 and Content-Range, as rclone 1.75 says: the length is that of the part."""
    proxy.add_rule("rewrite", op="GetObject", from_status=206, status=200)
    m = mount(via=proxy, variant=variant)
    change_all(m, bucket)
    data = os.urandom(20 << 20)
    for name in ("big.bin", "big"):
        bucket.put(m.key(name), data)
        assert os.stat(m.path / name).st_size == len(data)
        assert (m.path / name).read_bytes() == data
    with open(m.path / "big.bin", "r+b") as f:
        f.seek(9 << 20)
        f.write(b"!")
    assert bucket.get(m.key("big.bin")) == data[:9 << 20] + b"!" + data[(9 << 20) + 1:]


ROOTS = {"ListBucketResult": "ListBucketV2Result", "CopyObjectResult": "CopyResult",
         "InitiateMultipartUploadResult": "InitiateMultipartUpload",
         "CompleteMultipartUploadResult": "CompleteMultipartUploadResponse"}


def test_roots_of_other_names(mount, proxy, bucket):
    proxy.add_rule("habit", root=ROOTS)
    m = mount(via=proxy, variant=CAS)
    assert " conditions=put,complete,delete " in m.log()
    (m.path / "d").mkdir()
    change_all(m, bucket, "d/f.txt")
    (m.path / "d" / "g.txt").write_bytes(b"1")
    assert os.listdir(m.path / "d") == ["g.txt"]


def test_a_web_page_is_no_listing(mount, proxy):
    proxy.add_rule("answer", op="ListObjectsV2", status=200, headers={"Content-Type": "text/html"},
                   body="<html><head><title>Welcome</title></head><body/></html>")
    refused(mount(via=proxy, start=False), "not as an S3 server does")


# -- the reason, in the sentence


PATHS = ["SecondLevelDomainForbidden", "PathStyleDomainForbidden", "VirtualHostDomainRequired",
         "InvalidPathAccess"]


@pytest.mark.parametrize("code", PATHS)
def test_path_style_is_refused(mount, proxy, code):
    """And the endpoint is an address, so that there is no other style."""
    proxy.add_rule("answer", status=403, code=code, message="Use a virtual host.")
    refused(mount(via=proxy, start=False), "s3.addressing: virtual", f"403 {code}",
            "Use a virtual host.")


@pytest.mark.parametrize("variant", ["s3-buffered-lww", CAS])
def test_virtual_hosts_are_tried_once(mount, proxy, bucket, variant):
    proxy.add_rule("answer", having={"x-proxy-virtual": None}, status=403, code=PATHS[0])
    m = mount(via=f"http://localhost:{proxy.port}", variant=variant)
    assert proxy.counts()["ListObjectsV2"] >= 2
    assert traits(m) == "virtual-host"
    change_all(m, bucket)
    assert len([x for x in proxy.log() if x.status == 403]) == 1


def test_what_the_server_says_is_told_whole(mount, proxy):
    message = "The words of this message are many " + "and each of them is whole " * 20
    proxy.add_rule("answer", status=403, code="AccessDenied", message=message)
    line = refused(mount(via=proxy, start=False), "403 AccessDenied", "check keys, policy",
                   "The words of this message")
    said = line.split("The words", 1)[1]
    assert "..." in said
    assert set(said.split("...")[0].split()) <= set(message.split())


@pytest.mark.parametrize("headers, words", [
    ({"Location": "https://bkt.s3-eu-west-1.example.org/x?y"}, ["https://bkt.s3-eu-west-1.example.org"]),
    ({"Location": "https://s3.eu-west-3.example.org/", "x-amz-bucket-region": "eu-west-3"},
     ["https://s3.eu-west-3.example.org", "the region to eu-west-3"]),
    ({"x-amz-bucket-region": "eu-west-3"}, ["in region eu-west-3"]),
])
def test_sent_to_another_host(mount, proxy, headers, words):
    proxy.add_rule("answer", status=307, code="TemporaryRedirect", headers=headers)
    refused(mount(via=proxy, start=False), "307 TemporaryRedirect", *words)


@pytest.mark.parametrize("endpoint, code", [("http://127.0.0.1:1", 0), (None, 78)])
@pytest.mark.parametrize("name", ["My_bucket", "tenant:bucket"])
def test_bucket_names_of_other_servers(mount, name, endpoint, code):
    m = mount(start=False, env={"STATE_BUCKET": name, "AWS_ENDPOINT_URL": endpoint})
    done = util.run([DAEMON, "--check"], env=util.clean_env(**m.env), check=False)
    assert done.code == code, done


# -- compare-and-set on Ceph


def test_ceph_with_compare_and_set(mount, proxy, bucket):
    ceph(proxy)
    m = mount(via=proxy, variant=CAS, workers=2)
    assert 'server="Ceph" conditions=put traits=unquoted-if-match' in m.log()
    for i in range(2):
        change_all(m, bucket, f"f{i}.txt")
    path, key = m.path / "f.txt", m.key("f.txt")
    path.write_bytes(b"1")
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    os.write(fd, b"mine")
    bucket.put(key, b"theirs")
    with pytest.raises(FileExistsError):
        os.close(fd)
    assert bucket.get(key) == b"theirs" == path.read_bytes()

    path.write_bytes(b"0")
    for w in [python(FILE_INCREMENT, path, 25) for _ in range(3)]:
        util.finish(w)
    assert bucket.get(key) == b"75"
    assert contradictions(m) == 0 and " err " not in m.log()


def test_unquoted_conditions_that_are_not_looked_at(mount, proxy, bucket):
    """Quoted ones are refused, others taken for none: the form alone is no proof."""
    proxy.add_rule("answer", op="PutObject", having=QUOTED, status=412)
    proxy.add_rule("strip", op="PutObject", headers=["if-match"])
    refused(mount(via=proxy, variant=CAS, start=False), "PUT If-Match", "cas.probe: warn")
    assert bucket.list() == {}


def test_unquoted_conditions_that_are_racy(mount, proxy, bucket):
    proxy.add_rule("answer", op="PutObject", having=QUOTED, status=412)
    proxy.add_rule("nolock", op="PutObject", having={"if-match": "*"}, pause_ms=5)
    refused(mount(via=proxy, variant=CAS, start=False), "of 8 PUTs If-Match at once")


def test_no_form_is_right(mount, proxy):
    proxy.add_rule("answer", op="PutObject", having={"if-match": "*"}, status=412)
    refused(mount(via=proxy, variant=CAS, start=False), "PUT If-Match with the right ETag",
            "412 PreconditionFailed")
