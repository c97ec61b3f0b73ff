"""The server probe of the variant s3-buffered-cas: who is served, who is refused and why, that it
is short, asks for no more than it needs, and leaves nothing behind, killed or not."""

import os
import signal
import time

import pytest

from harness import SLOW, util

pytestmark = pytest.mark.probes

CAS = "s3-buffered-cas"
DIR = ".stateproxy-probe"
PASSES = "the server enforces conditions"
OLD = 6 * 60            # seconds: a leftover is old after five minutes


def left(s3):
    return s3.list(), s3.uploads()


def are_noted(objects, uploads):
    """Killed between an upload and its note, a probe leaves what no later start can know of."""
    return all(f"{key}.upload" in objects for key, _ in uploads)


def age(s3, seconds):
    """Makes every object older, as only the file system behind the server can."""
    for at, _, names in os.walk(s3.root / s3.bucket / "p"):
        for name in names:
            then = time.time() - seconds
            os.utime(os.path.join(at, name), (then, then))


@pytest.fixture
def probing(mount):
    """probing(probe="require", via=..., ...) -> a mount of the CAS variant, not started."""
    def make(probe="require", env=None, **kwargs):
        return mount(variant=CAS, start=False, env={"STATEPROXY_CAS_PROBE": probe, **(env or {})},
                     **kwargs)
    return make


# -- servers that are served


def test_the_default_server_passes(probing, proxy, bucket):
    m = probing(via=proxy).start()
    log = proxy.log()
    assert PASSES in m.log() and not m.errors() and " warn " not in m.log()
    ops = proxy.counts()
    # no AbortMultipartUpload, no ListMultipartUploads: other permissions
    assert set(ops) <= {"PutObject", "GetObject", "HeadObject", "DeleteObject", "ListObjectsV2",
                        "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload",
                        "CopyObject"}
    assert len(log) < 800
    assert all(x.key.startswith(f"p/{DIR}/") for x in log if x.op != "ListObjectsV2")
    assert left(bucket) == ({}, [])


def test_it_does_not_take_long(probing):
    def seconds(probe):
        m = probing(probe)
        begin = time.monotonic()
        m.start()
        return time.monotonic() - begin

    without = min(seconds("off") for _ in range(2))
    with_probe = min(seconds("require") for _ in range(2))
    assert with_probe - without < 3 * SLOW


@pytest.mark.parametrize("env, variant", [({"STATEPROXY_CAS_PROBE": "off"}, CAS),
                                          ({"STATEPROXY_MOUNT_READ_ONLY": "true"}, CAS),
                                          ({}, "s3-buffered-lww")])
def test_nothing_is_probed_where_it_does_not_matter(mount, proxy, env, variant):
    m = mount(via=proxy, variant=variant, env=env)
    assert proxy.counts() == {"ListObjectsV2": 1}
    assert PASSES not in m.log()


def test_it_runs_once_and_not_once_a_worker(probing, proxy):
    probing(via=proxy, workers=4).start()
    assert proxy.counts()["CompleteMultipartUpload"] == 5       # of one probe


@pytest.mark.parametrize("blind", [True, False])
def test_complete_of_an_upload_that_never_was(probing, proxy, minio, bucket_at, blind):
    """What versitygw answers 200 to. (Its name would do: so it is hidden.)"""
    if blind:
        proxy.add_rule("habit", server="Unknown/1.0")
        m = probing(via=proxy).start()
    else:
        m = probing(via=minio, s3=bucket_at(minio)).start()
    assert ("blind-complete" in m.status()["traits"]) == blind


@pytest.mark.limit(120)
def test_minio_passes_with_a_notice(probing, minio, bucket_at):
    s3 = bucket_at(minio)
    m = probing(via=minio, s3=s3).start()
    assert PASSES in m.log() and not m.errors()
    assert "conditions of DELETE are not reliable" in m.log()
    assert left(s3) == ({}, [])


def test_a_mount_of_the_whole_bucket_is_probed_too(probing, bucket):
    assert PASSES in probing(prefix="").start().log()
    assert left(bucket) == ({}, [])


# -- servers that are refused


def refused(m, *words):
    code, errors = m.start_refused(timeout=60)
    assert code == 78 and len(errors) == 1
    for word in words:
        assert word in errors[0], errors[0]
    assert "cas.probe: warn" in errors[0]
    return errors[0]


STRIPPED = [
    ("if-match", False, "PUT If-Match with a wrong ETag replaces the object"),
    ("if-none-match", False, "PUT If-None-Match:* replaces an object that is there"),
    ("if-match", True, "PUT If-Match creates an object that is missing"),
]


@pytest.mark.parametrize("header, missing_only, sentence", STRIPPED)
def test_a_server_that_ignores_a_condition(probing, proxy, bucket, header, missing_only, sentence):
    proxy.add_rule("strip", op="PutObject", headers=[header], missing_only=missing_only)
    refused(probing(via=proxy), sentence, proxy.endpoint)
    assert left(bucket) == ({}, [])


@pytest.mark.parametrize("pause_ms", [0, 5, 30])
def test_a_server_without_a_lock_is_found_by_the_race(probing, proxy, bucket, pause_ms):
    """It looks, then acts: right for whoever comes alone."""
    proxy.add_rule("nolock", op="PutObject", pause_ms=pause_ms)
    refused(probing(via=proxy), "of 8 PUTs If-", " at once ", "were told success")
    assert left(bucket) == ({}, [])


def test_a_server_that_locks_creation_only(probing, proxy):
    proxy.add_rule("nolock", op="PutObject", having={"if-match": "*"}, pause_ms=5)
    refused(probing(via=proxy), "of 8 PUTs If-Match at once")


def test_a_server_that_stores_what_it_refuses(probing, proxy):
    proxy.add_rule("strip", op="PutObject", headers=["if-match"], having={"if-match": "*"}, nth=2)
    proxy.add_rule("rewrite", op="PutObject", having={"if-match": "*"}, nth=2, status=412)
    refused(probing(via=proxy), "a PUT that was refused for its condition was stored")


@pytest.mark.parametrize("status, code", [(501, "NotImplemented"), (400, "InvalidArgument")])
def test_a_server_that_knows_no_conditions(probing, proxy, status, code):
    proxy.add_rule("answer", op="PutObject", having={"if-match": "*"}, status=status, code=code)
    refused(probing(via=proxy), f"PUT If-Match with the right ETag answers {status} {code}")


@pytest.mark.counts         # alone: moto's own conditions are no lock, and fail in the race of a busy machine
@pytest.mark.limit(120)
def test_moto_passes_though_it_ignores_conditions_of_complete(probing, moto, bucket_at):
    """Files are written with one PUT, whose conditions it keeps."""
    s3 = bucket_at(moto)
    m = probing(via=moto, s3=s3).start()
    assert "conditions of CompleteMultipartUpload are not reliable" in m.log()
    assert " conditions=put" in m.log() and "put,complete" not in m.log()
    assert left(s3) == ({}, [])


@pytest.mark.parametrize("header", ["if-match", "if-none-match"])
def test_conditions_of_complete_are_not_required(probing, proxy, bucket, header):
    proxy.add_rule("strip", op="CompleteMultipartUpload", headers=[header])
    m = probing(via=proxy).start()
    assert "conditions of CompleteMultipartUpload are not reliable" in m.log()
    assert PASSES in m.log() and " conditions=put,delete " in m.log()
    assert left(bucket) == ({}, [])


@pytest.mark.parametrize("status", [403, 501, 503])
def test_multipart_is_not_required(probing, proxy, bucket, status):
    proxy.add_rule("answer", op="CreateMultipartUpload", status=status)
    assert PASSES in probing(via=proxy).start().log()
    assert left(bucket) == ({}, [])


def test_conditions_of_delete_are_not_required(probing, proxy, bucket):
    proxy.add_rule("strip", op="DeleteObject")
    m = probing(via=proxy).start()
    assert "conditions of DELETE are not reliable" in m.log()
    assert left(bucket) == ({}, [])


# -- what the operator may say


@pytest.mark.parametrize("header, missing_only, sentence", STRIPPED)
def test_warn_goes_on(probing, proxy, bucket, header, missing_only, sentence):
    proxy.add_rule("strip", op="PutObject", headers=[header], missing_only=missing_only)
    m = probing("warn", via=proxy).start()
    warnings = [x for x in m.log().splitlines() if " warn " in x]
    assert len(warnings) == 1 and sentence in warnings[0] and not m.errors()
    assert os.listdir(m.path) == []
    assert left(bucket) == ({}, [])


def test_off_asks_nothing_of_a_bad_server(probing, proxy):
    proxy.add_rule("strip", op="PutObject")
    m = probing("off", via=proxy).start()
    assert " warn " not in m.log()


def test_credentials_that_may_not_write(probing, proxy):
    proxy.add_rule("answer", op="PutObject", status=403)
    code, errors = probing(via=proxy).start_refused()
    assert code == 78
    assert "needs Get, Put, Delete and List" in errors[0] and "403 AccessDenied" in errors[0]
    assert "cas.probe: off" in errors[0]


# -- a server that has a bad day


def test_a_server_that_is_busy_is_asked_again(probing, proxy, bucket):
    proxy.add_rule("answer", op="PutObject", status=503, nth=3)
    proxy.add_rule("answer", op="CompleteMultipartUpload", status=500, acted=True, nth=2)
    proxy.add_rule("reset", op="DeleteObject", nth=5)
    assert PASSES in probing(via=proxy).start().log()
    assert left(bucket) == ({}, [])


def test_what_cannot_be_deleted_is_not_in_the_way(probing, proxy, bucket):
    """Of the next round."""
    proxy.add_rule("answer", op="DeleteObject", key="*.race0", status=503)
    assert PASSES in probing(via=proxy).start().log()
    assert len(left(bucket)[0]) >= 2
    age(bucket, OLD)
    probing().start()
    assert left(bucket) == ({}, [])


@pytest.mark.parametrize("seed", range(4))
def test_faults_do_not_make_a_good_server_a_bad_one(probing, proxy, seed):
    """No verdict is worse than "could not be found out"."""
    proxy.add_faults(0.03, seed=seed, key=f"p/{DIR}/*")
    m = probing("warn", via=proxy).start(timeout=40)
    bad = [x for x in m.log().splitlines() if " warn " in x and "could not be found out" not in x]
    assert not bad and not m.errors()


def test_a_server_without_clear_answers(probing, proxy):
    proxy.add_rule("answer", op="PutObject", status=503)
    code, errors = probing(via=proxy).start_refused(timeout=40)
    assert code == 69
    assert "could not be found out" in errors[0] and "503 SlowDown" in errors[0]


# -- leftovers


@pytest.mark.parametrize("op, key, nth", [("PutObject", "*.put", 3), ("PutObject", "*.race1", 20),
                                          ("CompleteMultipartUpload", "*.part", 1),
                                          ("CompleteMultipartUpload", "*.part", 3),
                                          ("DeleteObject", "*.del", 1)])
def test_what_a_killed_probe_leaves_goes_at_a_later_start(probing, proxy, bucket, op, key, nth):
    proxy.add_rule("hold", name="middle", op=op, key=key, nth=nth)
    m = probing(via=proxy).start(ready=False)
    proxy.wait_held("middle")
    util.wait_until(lambda: are_noted(*left(bucket)), 20 * SLOW, "the notes of the round under way")
    m.kill_supervisor()
    proxy.release("middle", "drop")
    proxy.wait_idle()
    objects, uploads = left(bucket)
    assert objects                  # uploads have notes among them

    # another probe may be running: what is young stays
    probing().start()
    assert left(bucket) == (objects, uploads)
    age(bucket, OLD)
    probing().start()
    assert left(bucket) == ({}, [])


def test_two_probes_at_once_do_not_disturb_each_other(probing, bucket):
    mounts = [probing().start(ready=False) for _ in range(4)]
    for m in mounts:
        m.wait_ready()
        assert PASSES in m.log()
    assert left(bucket) == ({}, [])


def test_leftovers_of_others_are_not_shown(probing, bucket):
    bucket.put(f"p/{DIR}/0123456789abcdef.put", b"1")
    bucket.put(f"p/sub/{DIR}/mine", b"1")
    bucket.put("p/file", b"1")
    m = probing().start()
    assert sorted(os.listdir(m.path)) == ["file", "sub"]
    assert os.listdir(m.path / "sub") == [DIR]
    assert "keys hidden" not in m.log()
    assert bucket.exists(f"p/{DIR}/0123456789abcdef.put")


def test_a_signal_during_the_probe_ends_the_start(probing, proxy):
    proxy.add_rule("hold", name="middle", op="PutObject", nth=3)
    m = probing(via=proxy).start(ready=False)
    proxy.wait_held("middle")
    m.proc.send_signal(signal.SIGTERM)
    assert m.wait_exit(10) != 0
    util.wait_until(lambda: not m.processes(), 5, "the end of the probe")
    m.stopped = True


# -- a server that is racy now and then


STARTS = int(os.environ.get("STATEPROXY_TEST_STARTS", "12"))


@pytest.mark.slow
@pytest.mark.limit(60 + 2 * STARTS)
def test_a_server_that_is_racy_now_and_then(probing, proxy, seed):
    """One in a hundred PUTs slips by the lock, so that of races of eight one in 13 goes wrong: 20 of them, as
    there were once, found 11 of 14 starts. (STATEPROXY_TEST_STARTS=100 for the figure of ARCHITECTURE.md.)"""
    found = []
    for i in range(STARTS):
        proxy.clear_rules()
        rule = proxy.add_rule("strip", op="PutObject", key="*.race?", probability=0.011,
                              seed=100003 * seed + 7919 * i)
        m = probing("warn", via=proxy).start()
        found.append(" at once " in m.log())
        m.stop()
        proxy.remove_rule(rule)
    print(f"found in {found.count(True)} of {STARTS}")
    assert found.count(True) >= 0.99 * STARTS - 1
