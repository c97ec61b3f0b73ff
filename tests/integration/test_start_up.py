"""How long a cold start takes, in requests and in time, and what it tells."""

import os
import time

import pytest

from harness import SLOW

pytestmark = pytest.mark.probes

CAS = "s3-buffered-cas"
PASSES = "the server enforces conditions: probed"
KEPT = "the server enforces conditions: found by an earlier start"


def probed(m):
    """(requests, milliseconds) that the probe says it took."""
    line = next(x for x in m.log().splitlines() if PASSES in x)
    words = line.split(PASSES)[1].split()
    return int(words[1]), int(words[4])


@pytest.mark.counts
@pytest.mark.limit(90)
def test_the_probe_takes_few_round_trips(mount, proxy):
    """30 ms away. (The race goes on beside the checks, and longer than they.)"""
    proxy.set_latency(30)
    times = [probed(mount(via=proxy, variant=CAS))[1] for _ in range(3)]
    print(times)
    assert min(times) < 3000 * SLOW           # mostly what the proxy needs for 730 requests


@pytest.mark.counts
def test_the_checks_side_by_side(mount, proxy):
    """Without the race, which refuses to begin where creating is refused: rounds are counted."""
    proxy.set_latency(30)
    m = mount(via=proxy, variant=CAS)
    log = [x for x in proxy.log() if "probe" in x.key and "race" not in x.key]
    took = max(x.end for x in log) - min(x.start for x in log)
    assert sum(x.end - x.start for x in log) > 2 * took         # (2.8; 1 if one waited for the other)
    assert m.status()["conditions"] == "put,complete,delete"


# -- servers that are not tried


def aws_like(proxy, **env):
    """AWS's own endpoint, which is reached by way of an HTTP proxy: ours."""
    return {"AWS_ENDPOINT_URL": "http://s3.us-east-1.amazonaws.com", "http_proxy": proxy.endpoint,
            "no_proxy": None, "STATEPROXY_S3_ADDRESSING": "path", **env}


def test_aws_is_not_probed(mount, proxy, bucket):
    bucket.put("p/f.txt", b"1")
    m = mount(via=proxy, variant=CAS, env=aws_like(proxy))
    assert (m.path / "f.txt").read_bytes() == b"1"
    assert len(proxy.log()) <= 2                        # of the five round trips that it may take
    assert " conditions=put,complete,delete,copy " in m.log() and PASSES not in m.log()
    fd = os.open(m.path / "f.txt", os.O_WRONLY | os.O_TRUNC)
    os.write(fd, b"2")
    bucket.put("p/f.txt", b"theirs")
    with pytest.raises(FileExistsError):
        os.close(fd)
    assert bucket.get("p/f.txt") == b"theirs"
    assert (m.path / "f.txt").read_bytes() == b"theirs"
    os.unlink(m.path / "f.txt")
    assert proxy.log("DeleteObject")[-1].conditions


@pytest.mark.parametrize("probe", ["require", "warn"])
def test_aws_is_probed_if_told_so(mount, proxy, probe):
    assert PASSES in mount(via=proxy, variant=CAS,
                           env=aws_like(proxy, STATEPROXY_CAS_PROBE=probe)).log()


def test_a_host_that_only_looks_so_is_probed(mount, proxy):
    env = aws_like(proxy, AWS_ENDPOINT_URL="http://notamazonaws.com")
    assert PASSES in mount(via=proxy, variant=CAS, env=env).log()


# -- what an earlier start has found


def test_a_result_is_kept(mount, proxy, scratch, bucket):
    bucket.put("p/f.txt", b"1")
    proxy.add_rule("answer", op="PutObject", having={"if-match": '"*'}, status=412)
    proxy.add_rule("strip", op="DeleteObject")
    env = {"STATEPROXY_CAS_STATE_DIR": scratch}
    first = mount(via=proxy, variant=CAS, env=env)
    assert PASSES in first.log()
    proxy.reset_counts()
    m = mount(via=proxy, variant=CAS, env=env)
    assert KEPT in m.log()
    assert (m.path / "f.txt").read_bytes() == b"1"
    assert len(proxy.log()) <= 2
    for key in "server", "conditions", "traits":
        assert m.status()[key] == first.status()[key]
    assert m.status()["traits"] == "unquoted-if-match,blind-complete"
    (m.path / "f.txt").write_bytes(b"2")
    assert bucket.get("p/f.txt") == b"2"


@pytest.mark.counts
@pytest.mark.limit(90)
def test_a_cold_start_takes_no_time(mount, scratch, bucket):
    bucket.put("p/f.txt", b"1")
    # (a disk that is slow at making nameless files is not what is measured)
    env = {"STATEPROXY_CAS_STATE_DIR": scratch, "STATEPROXY_BUFFER_DIR": "/dev/shm"}
    mount(variant=CAS, env=env)

    def milliseconds():
        m = mount(variant=CAS, env=env, start=False)
        begin = time.monotonic()
        m.start()
        assert (m.path / "f.txt").read_bytes() == b"1"
        return 1000 * (time.monotonic() - begin)

    times = sorted(milliseconds() for _ in range(7))
    print(times)
    assert times[0] < 200 * SLOW        # (50 on a quiet machine: tests/bench/connector.py)


def the_file(scratch):
    files = list(scratch.glob("probe-*"))
    assert len(files) == 1
    return files[0]


def spoil_time(path, seconds):
    text = path.read_text()
    at = text.split("found ")[1].split()[0]
    path.write_text(text.replace(at, str(int(at) + seconds * 10**9)))


SPOILS = {
    "too old": lambda p: spoil_time(p, -86401),
    "of the future": lambda p: spoil_time(p, 3600),
    "cut": lambda p: p.write_text(p.read_text()[:-3]),
    "empty": lambda p: p.write_text(""),
    "binary": lambda p: p.write_bytes(os.urandom(4096)),
    "of another server": lambda p: p.write_text(p.read_text().replace("server ", "server x")),
    "of another version": lambda p: p.write_text(p.read_text().replace("stateproxy ", "stateproxy 9")),
    "writable by others": lambda p: p.chmod(0o622),
    "of somebody else": lambda p: os.chown(p, 12345, 12345),
    "a directory": lambda p: (p.unlink(), p.mkdir()),
    "a link": lambda p: (p.rename(str(p) + ".x"), p.symlink_to(str(p) + ".x")),
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_a_result_that_is_not_to_be_believed(mount, scratch, spoil):
    env = {"STATEPROXY_CAS_STATE_DIR": scratch}
    mount(variant=CAS, env=env)
    spoil(the_file(scratch))
    assert PASSES in mount(variant=CAS, env=env).log()


def test_only_what_is_good_is_kept(mount, proxy, scratch):
    env = {"STATEPROXY_CAS_STATE_DIR": scratch, "STATEPROXY_CAS_PROBE": "warn"}
    proxy.add_rule("strip", op="PutObject")
    mount(via=proxy, variant=CAS, env=env)
    assert not list(scratch.glob("probe-*"))


def test_a_place_that_is_not_there(mount):
    m = mount(variant=CAS, env={"STATEPROXY_CAS_STATE_DIR": "/nonexistent/place"})
    assert PASSES in m.log() and "not saved" in m.log()
