"""A fault meets each request of an operation in turn: nobody notices.

The scenarios are those of test_every_step.py, with the same outcome and the same things left behind. Each runs again
and again, each time with the fault one request later, until it ends before. Without STATEPROXY_TEST_FULL=1 the fault is
the one that hides most: the request has acted, and its answer is lost."""

import os

import pytest

from harness import SLOW, util
from test_every_step import (CAS, FULL, LWW, OF_CAS, OF_HANDLES, OF_LARGE, OF_LWW, OF_PASS, PARTS, PASS, RENAMES, SPILLED,
                             Scene, copying, end, fsync, nothing_left, operation, unlink_of_open)

pytestmark = [
    pytest.mark.quiet("one operation at a time, whose requests are counted"),
    pytest.mark.skipif(SLOW > 1, reason="gcc's build does the same, sooner"),
]

REQUESTS_MAX = 100
FAULTS = {
    "lost": ("drop", {}),
    "refused": ("answer", {"status": 503}),
    "acted 500": ("answer", {"status": 500, "acted": True}),
    "reset": ("reset", {"when": "before"}),
    "cut": ("cut_response", {"at": 0.5}),
}
CHOSEN = FAULTS if FULL else ["lost"]
WITHOUT = [x for x in OF_HANDLES if x not in (fsync, unlink_of_open)]       # they send no request
ACTED = ("lost", "acted 500", "cut")        # the server has done it, and its answer is none
PATIENT = {"STATEPROXY_S3_MAX_ATTEMPTS": "5"}


def run_once(scene, scenario, proxy, fault):
    """With the fault at the n-th request. -> whether there was one"""
    m, run, outcome = scene.m, scenario(scene), 0
    action, args = FAULTS[fault]
    name, *rest = next(run)
    begun = len(proxy.log())
    rule = proxy.add_rule(action, nth=scene.n, **args)
    try:
        operation(m, scene.actor, name, *rest)
    except OSError as e:
        outcome = e.errno
    applied = [r for r in proxy.state().rules if r["id"] == rule][0]["applied"]
    proxy.remove_rule(rule)
    log = proxy.log()[begun:]
    requests = [f"{e.op} {e.key} {e.status} {'/'.join(e.faults)}" for e in log]
    try:
        end(run, outcome)
        m.check()
        util.wait_until(lambda: nothing_left(m), what="the end of sessions and requests")
        # (Of an upload whose id was lost with the answer nobody can know.)
        lost = fault in ACTED and any(e.op == "CreateMultipartUpload" and e.faults for e in log)
        util.wait_until(lambda: len(scene.uploads()) == lost, what="the end of uploads")
    except (AssertionError, OSError) as e:
        raise AssertionError(f"{fault} at request {scene.n}, outcome {outcome}: {requests}\n{type(e).__name__}: {e}") \
            from e
    return applied


def all_requests(m, bucket, actor, scenario, proxy, fault):
    raw, n = bucket.raw(), 1
    while run_once(Scene(m, bucket, raw, actor, n), scenario, proxy, fault):
        n += 1
        assert n < REQUESTS_MAX
    raw.close()
    print(f"requests of {scenario.__name__}: {n - 1}")
    assert n > 1
    assert not [line for line in m.errors() if "outcome unknown" not in line]


def cases(scenarios):
    return [pytest.param(s, f, id=f"{s.__name__}-{f}") for s in scenarios if s not in WITHOUT for f in CHOSEN]


@pytest.mark.parametrize("scenario, fault", cases(OF_CAS))
def test_with_compare_and_set(mount, bucket, proxy, actor, scenario, fault):
    m = mount(variant=CAS, workers=1, via=proxy, env=PATIENT)
    all_requests(m, bucket, actor(), scenario, proxy, fault)


@pytest.mark.parametrize("scenario, fault", cases(RENAMES))
def test_renames_that_copy(mount, bucket, s3server, proxy, actor, scenario, fault):
    all_requests(copying(mount, s3server, proxy, env=PATIENT), bucket, actor(), scenario, proxy, fault)


@pytest.mark.parametrize("scenario, fault", cases(OF_LWW))
def test_where_the_last_writer_wins(mount, bucket, proxy, actor, scenario, fault):
    m = mount(variant=LWW, workers=1, via=proxy, env=PATIENT)
    all_requests(m, bucket, actor(), scenario, proxy, fault)


@pytest.mark.parametrize("scenario, fault", cases(OF_PASS))
def test_streams(mount, bucket, proxy, actor, scenario, fault):
    m = mount(variant=PASS, workers=1, via=proxy, env=PATIENT)
    all_requests(m, bucket, actor(), scenario, proxy, fault)


@pytest.mark.limit(120)
@pytest.mark.parametrize("fault", CHOSEN)
@pytest.mark.parametrize("variant, scenario", OF_LARGE, ids=lambda x: getattr(x, "__name__", x))
def test_of_large_files(mount, bucket, s3server, proxy, actor, variant, scenario, fault):
    if "of_parts" in scenario.__name__ and variant == CAS:
        m = copying(mount, s3server, proxy, env=PARTS | PATIENT)
    else:
        m = mount(variant=variant, workers=1, env=PARTS | SPILLED | PATIENT, via=proxy)
    all_requests(m, bucket, actor(), scenario, proxy, fault)
