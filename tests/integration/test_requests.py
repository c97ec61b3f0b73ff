"""How many requests an operation costs: counted by the proxy, on a fresh mount."""

import os

import pytest

from harness import util
from harness.pattern import pattern

pytestmark = pytest.mark.counts


@pytest.fixture
def m(mount, proxy):
    """Through the proxy, and slow machines do not make a listing stale within a test."""
    return mount(via=proxy, env={"STATEPROXY_DIRECTORIES_TTL": "60s"})


def read(path):
    with open(path, "rb", buffering=0) as f:
        return f.read()


def write(path, data):
    with open(path, "wb", buffering=0) as f:
        f.write(data)


@pytest.mark.parametrize("size", [0, 1, 4096, 100_000])
def test_a_small_file_read_cold_is_one_get(m, counted, bucket, size):
    bucket.put(m.key("f.txt"), pattern(size))
    got = []
    requests = counted(lambda: got.append(read(m.path / "f.txt")))
    assert got == [pattern(size)]
    if size:
        assert requests == {"GetObject": 1}
    else:       # a range of an empty object is 416, which does not tell that it is empty
        assert requests in ({"GetObject": 1}, {"GetObject": 1, "HeadObject": 1})


def test_the_same_file_read_again_is_one_request(m, counted, bucket):
    bucket.put(m.key("f.txt"), b"x" * 4096)
    read(m.path / "f.txt")
    for _ in range(3):
        requests = counted(read, m.path / "f.txt")
        assert sum(requests.values()) == 1, requests


def test_several_programs_reading_one_file_at_once_share_its_bytes(m, proxy, counted, bucket):
    bucket.put(m.key("f.bin"), pattern(3_000_000))

    def all_at_once():
        proxy.hold("h", op="GetObject", key="*f.bin", times=1)
        programs = [util.spawn(["sha256sum", m.path / "f.bin"]) for _ in range(4)]
        proxy.wait_held("h")
        proxy.release("h")
        assert len({util.finish(p).out.split()[0] for p in programs}) == 1

    counted(all_at_once)
    assert proxy.bytes_received("GetObject") < 2 * 3_000_000


@pytest.fixture
def many(mount, proxy, bucket2500):
    return mount(via=proxy, s3=bucket2500, env={"STATEPROXY_DIRECTORIES_TTL": "60s"})


def test_ls_l_of_2500_objects_is_three_lists(many, counted):
    (many.path / "many").stat()         # that it is a directory is known
    out = []
    requests = counted(lambda: out.append(util.run(["ls", "-l", many.path / "many"]).out))
    assert len(out[0].splitlines()) == 2501
    assert requests == {"ListObjectsV2": 3}


def test_ls_l_of_the_mount_itself_is_three_lists(mount, proxy, counted, bucket2500):
    m = mount(via=proxy, s3=bucket2500, prefix="p/many")
    requests = counted(lambda: util.run(["ls", "-l", m.path]))
    assert requests == {"ListObjectsV2": 3}


def test_ls_again_within_the_ttl_is_nothing(many, counted):
    os.listdir(many.path / "many")
    assert counted(os.listdir, many.path / "many") == {}
    assert counted(lambda: util.run(["ls", "-l", many.path / "many"])) == {}


def test_files_just_listed_are_read_by_one_get_each(many, counted):
    names = sorted(os.listdir(many.path / "many"))[1:2500:100]
    requests = counted(lambda: [read(many.path / "many" / n) for n in names])
    assert requests == {"GetObject": len(names)}


def test_an_idle_mount_asks_nothing(m, counted, bucket, proxy):
    bucket.put(m.key("f.txt"), b"x")
    read(m.path / "f.txt")
    os.listdir(m.path)
    write(m.path / "g.txt", b"y")
    assert counted(lambda: proxy_quiet(proxy, 2.0)) == {}


def proxy_quiet(proxy, seconds):
    """Waits for a request that must not come."""
    with pytest.raises(AssertionError):
        util.wait_until(lambda: proxy.counts(), seconds / util.SLOW, every=0.1)


def test_create_in_a_listed_directory_is_one_put(m, counted, bucket):
    bucket.put(m.key("d/f.txt"), b"x")
    assert os.listdir(m.path / "d") == ["f.txt"]
    assert counted(write, m.path / "d/g.txt", b"y" * 4096) == {"PutObject": 1}
    assert bucket.get(m.key("d/g.txt")) == b"y" * 4096


def test_create_in_a_directory_just_made_is_one_put(m, counted, bucket):
    os.mkdir(m.path / "d")
    assert counted(write, m.path / "d/g.txt", b"y" * 4096) == {"PutObject": 1}


def test_create_cold_is_one_put_and_at_most_two_questions(m, counted):
    requests = counted(write, m.path / "g.txt", b"y" * 4096)
    assert requests.pop("PutObject") == 1
    assert sum(requests.values()) <= 2, requests


def test_cp_into_a_listed_directory_is_one_put_and_one_question(m, counted, scratch, bucket):
    (scratch / "f.txt").write_bytes(b"z" * 5000)
    os.listdir(m.path)
    requests = counted(lambda: util.run(["cp", scratch / "f.txt", m.path / "f.txt"]))
    # cp(1) asks first whether the name is a directory
    assert requests == {"ListObjectsV2": 1, "PutObject": 1}
    assert bucket.get(m.key("f.txt")) == b"z" * 5000


def test_stat_of_a_file_is_one_request(m, counted, bucket):
    bucket.put(m.key("f.txt"), b"x")
    requests = counted(os.stat, m.path / "f.txt")
    assert sum(requests.values()) == 1, requests


def test_stat_of_a_missing_name_is_at_most_two_requests(m, counted):
    def missing():
        with pytest.raises(FileNotFoundError):
            os.stat(m.path / "no.txt")
    requests = counted(missing)
    assert sum(requests.values()) <= 2, requests


def test_overwriting_is_one_put_and_at_most_one_question(m, counted, bucket):
    bucket.put(m.key("f.txt"), b"old")
    requests = counted(write, m.path / "f.txt", b"new")
    assert requests.pop("PutObject") == 1
    assert sum(requests.values()) <= 1, requests


def test_appending_to_a_known_file_is_one_put_and_at_most_one_question(m, counted, bucket):
    bucket.put(m.key("f.log"), b"x" * 4096)
    read(m.path / "f.log")

    def append():
        with open(m.path / "f.log", "ab", buffering=0) as f:
            f.write(b"more")
    requests = counted(append)
    assert requests.pop("PutObject") == 1
    assert sum(requests.values()) <= 1, requests


def test_unlink_is_one_delete_and_at_most_one_question(m, counted, bucket):
    bucket.put(m.key("f.txt"), b"x")
    requests = counted(os.unlink, m.path / "f.txt")
    assert requests.pop("DeleteObject") == 1
    assert sum(requests.values()) <= 1, requests


def test_rename_is_a_copy_a_delete_and_at_most_three_questions(m, counted, bucket):
    bucket.put(m.key("f.txt"), b"x")
    requests = counted(os.rename, m.path / "f.txt", m.path / "g.txt")
    assert requests.pop("CopyObject") == 1 and requests.pop("DeleteObject") == 1
    assert sum(requests.values()) <= 3, requests


def test_connections_are_kept(m, proxy, bucket):
    for i in range(50):
        write(m.path / f"{i}.txt", b"x")
    assert proxy.state().new_connections <= 8
