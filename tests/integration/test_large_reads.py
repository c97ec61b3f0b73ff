"""Reading large files: what is fetched for what is read, how many GETs are in flight, readers of every
kind, worker deaths, little memory."""

import hashlib
import mmap
import os
import resource
import threading

import pytest

from harness.killer import Killer
from harness.pattern import pattern

KIB, MIB = 1 << 10, 1 << 20
READERS, READERS_MIB = map(int, os.environ.get("STATEPROXY_TEST_READERS", "100x24").split("x"))


@pytest.fixture
def m(mount, proxy):
    return mount(via=proxy)


def read_at(fd, off, count):
    out = b""
    while len(out) < count:
        piece = os.pread(fd, count - len(out), off + len(out))
        if not piece:
            break
        out += piece
    return out


def read_whole(path, step=MIB):
    with open(path, "rb", buffering=0) as f:
        return b"".join(iter(lambda: f.read(step), b""))


def digest(data):
    return hashlib.sha256(data).hexdigest()


# -- what is fetched


@pytest.mark.counts
@pytest.mark.parametrize("step", [16 * KIB, MIB])
def test_in_order_each_byte_is_fetched_once(m, proxy, bucket, step):
    data = pattern(60 * MIB + 4321)
    bucket.put(m.key("f.bin"), data)
    assert digest(read_whole(m.path / "f.bin", step)) == digest(data)
    proxy.wait_idle()
    assert len(data) <= proxy.bytes_received("GetObject") <= 1.02 * len(data)
    assert proxy.counts()["GetObject"] <= 90


@pytest.mark.counts
def test_backwards_each_byte_is_fetched_once(m, proxy, bucket):
    data = pattern(60 * MIB)
    bucket.put(m.key("f.bin"), data)
    fd = os.open(m.path / "f.bin", os.O_RDONLY)
    got = [read_at(fd, at, MIB) for at in range(59 * MIB, -1, -MIB)]
    os.close(fd)
    assert digest(b"".join(reversed(got))) == digest(data)
    proxy.wait_idle()
    assert proxy.bytes_received("GetObject") <= 1.02 * len(data)


@pytest.mark.counts
def test_steps_fetch_the_pieces(m, proxy, bucket):
    data = pattern(80 * MIB)
    bucket.put(m.key("f.bin"), data)
    fd = os.open(m.path / "f.bin", os.O_RDONLY)
    places = range(MIB, 80 * MIB, 4 * MIB)
    for at in places:
        assert read_at(fd, at, 256 * KIB) == data[at:at + 256 * KIB]
    os.close(fd)
    proxy.wait_idle()
    # and the 128 KiB that come with the lookup
    assert proxy.bytes_received("GetObject") <= len(places) * 256 * KIB + 128 * KIB


@pytest.mark.counts
def test_a_random_read_is_one_request_of_one_block(m, proxy, bucket):
    data = pattern(100 * MIB)
    bucket.put(m.key("f.bin"), data)
    fd = os.open(m.path / "f.bin", os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    proxy.wait_idle()
    for i in range(60):
        at = (i * 7919 + 5) % (100 * MIB // 4096) * 4096
        proxy.reset_counts()
        assert read_at(fd, at, 4096) == data[at:at + 4096]
        proxy.wait_idle()
        assert proxy.counts()["GetObject"] <= 1
        assert proxy.bytes_received("GetObject") <= 128 * KIB
    os.close(fd)


@pytest.mark.counts
def test_random_size(mount, proxy, bucket):
    m = mount(via=proxy, env={"STATEPROXY_READ_RANDOM_SIZE": "1Mi"})
    data = pattern(40 * MIB)
    bucket.put(m.key("f.bin"), data)
    fd = os.open(m.path / "f.bin", os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    proxy.wait_idle()
    proxy.reset_counts()
    for at in (20 * MIB + 8192, 20 * MIB, 20 * MIB + 900 * KIB):
        assert read_at(fd, at, 4096) == data[at:at + 4096]
    os.close(fd)
    proxy.wait_idle()
    assert proxy.counts()["GetObject"] == 1
    assert proxy.bytes_received("GetObject") == MIB


@pytest.mark.counts
def test_readers_of_one_file_at_four_places(m, proxy, bucket):
    data = pattern(120 * MIB)
    bucket.put(m.key("f.bin"), data)
    got = [None] * 4
    begun = threading.Barrier(4)

    def quarter(i):
        fd = os.open(m.path / "f.bin", os.O_RDONLY)
        first = read_at(fd, i * 30 * MIB, 4 * MIB)
        begun.wait()
        got[i] = first + b"".join(read_at(fd, i * 30 * MIB + at, MIB)
                                  for at in range(4 * MIB, 30 * MIB, MIB))
        os.close(fd)

    readers = [threading.Thread(target=quarter, args=(i,)) for i in range(4)]
    for r in readers:
        r.start()
    for r in readers:
        r.join()
    assert digest(b"".join(got)) == digest(data)
    proxy.wait_idle()
    # each may read on into the next one's quarter by its share of the window, about 10 MiB
    assert proxy.bytes_received("GetObject") <= len(data) + 4 * 12 * MIB


@pytest.mark.counts
@pytest.mark.limit(60 + READERS * READERS_MIB // 100)
def test_hundred_readers_share_what_is_fetched(m, proxy, bucket):
    data = pattern(READERS_MIB * MIB)
    bucket.put(m.key("f.bin"), data)
    whole = []

    def one(f):
        with f:
            same = all(f.read(MIB) == data[at:at + MIB] for at in range(0, len(data), MIB))
            whole.append(same and not f.read(1))

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    readers = [threading.Thread(target=one, args=(open(m.path / "f.bin", "rb", buffering=0),)) for _ in range(READERS)]
    for r in readers:
        r.start()
    for r in readers:
        r.join()
    assert whole == [True] * READERS
    proxy.wait_idle()
    print(f"received={proxy.bytes_received('GetObject')} of {len(data)} for {READERS} readers")
    large = [e for e in proxy.log("GetObject") if e.status == 206]
    assert proxy.bytes_received("GetObject") <= 1.1 * len(data) + len(large) * 128 * KIB


# -- how much at once


@pytest.mark.counts
def test_many_gets_are_in_flight_for_one_reader(m, proxy, bucket):
    """Once it has read some MiB in order; and a reader goes on with what has come."""
    data = pattern(100 * MIB)
    bucket.put(m.key("f.bin"), data)
    fd = os.open(m.path / "f.bin", os.O_RDONLY)
    first = read_at(fd, 0, 8 * MIB)
    proxy.hold("h", op="GetObject", key="*f.bin")
    rest = []
    reader = threading.Thread(target=lambda: rest.append(read_at(fd, 8 * MIB, 92 * MIB)))
    reader.start()
    proxy.wait_held("h", count=16)
    proxy.release("h")
    reader.join()
    os.close(fd)
    assert digest(first + rest[0]) == digest(data)


@pytest.mark.counts
def test_concurrency_is_a_limit(mount, proxy, bucket):
    m = mount(via=proxy, env={"STATEPROXY_READ_CONCURRENCY": "2",
                              "STATEPROXY_READ_PART_SIZE": "1Mi"})
    data = pattern(40 * MIB)
    bucket.put(m.key("f.bin"), data)
    proxy.set_latency(5)
    assert digest(read_whole(m.path / "f.bin")) == digest(data)
    assert proxy.state().max_in_flight <= 8     # 2 of the window, and what each READ itself lacks


# -- readers of every kind


@pytest.mark.parametrize("size", [
    128 * KIB - 1, 128 * KIB, 128 * KIB + 1, MIB - 1, MIB + 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1,
    16 * MIB + 1, 33 * MIB - 1])
def test_sizes_around_the_boundaries(mount, bucket, size):
    m = mount()
    data = pattern(size)
    bucket.put(m.key("f.bin"), data)
    assert digest(read_whole(m.path / "f.bin")) == digest(data)
    fd = os.open(m.path / "f.bin", os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    assert read_at(fd, size - 1, 10) == data[-1:]
    assert read_at(fd, size, 10) == b""
    assert read_at(fd, max(0, size - 200 * KIB), 300 * KIB) == data[max(0, size - 200 * KIB):]
    os.close(fd)


def test_mapped_and_vectored_and_sent(mount, bucket, scratch):
    m = mount()
    data = pattern(30 * MIB + 77)
    bucket.put(m.key("f.bin"), data)
    with open(m.path / "f.bin", "rb") as f, \
            mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        for at in range(29 * MIB, 0, -3 * MIB):
            assert mapped[at:at + 5000] == data[at:at + 5000]
        assert digest(mapped[:]) == digest(data)
    fd = os.open(m.path / "f.bin", os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    parts = [bytearray(300_000), bytearray(1), bytearray(500_000)]
    got = os.preadv(fd, parts, 12 * MIB + 5)
    assert b"".join(parts)[:got] == data[12 * MIB + 5:12 * MIB + 5 + got] and got > 0
    with open(scratch / "out", "wb") as out:
        at = 0
        while at < len(data):
            at += os.sendfile(out.fileno(), fd, at, len(data) - at)
    os.close(fd)
    assert digest((scratch / "out").read_bytes()) == digest(data)


def test_direct_reads(mount, bucket):
    """O_DIRECT: no page cache, READs as the program makes them."""
    m = mount()
    data = pattern(20 * MIB)
    bucket.put(m.key("f.bin"), data)
    fd = os.open(m.path / "f.bin", os.O_RDONLY | os.O_DIRECT)
    with mmap.mmap(-1, 2 * MIB) as room:
        for at in (0, 5 * MIB, 5 * MIB + 4096, 19 * MIB):
            view = memoryview(room)
            got = os.preadv(fd, [view], at)
            assert bytes(view[:got]) == data[at:at + got] and got > 0
            view.release()
    os.close(fd)


# -- company


@pytest.mark.limit(180)
def test_workers_are_killed_while_files_are_read_ahead(mount, bucket, seed):
    m = mount(workers=4)
    contents = {f"f{i}.bin": pattern(24 * MIB + i, i) for i in range(3)}
    for name, data in contents.items():
        bucket.put(m.key(name), data)
    sums = {name: digest(data) for name, data in contents.items()}
    killer = Killer(m, 60, seed)
    wrong, rounds = [], [0]

    def reader(name):
        while killer.is_alive():
            fd = os.open(m.path / name, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            whole = read_at(fd, 0, 30 * MIB)
            os.close(fd)
            rounds[0] += 1
            if digest(whole) != sums[name]:
                wrong.append(name)

    killer.start()
    readers = [threading.Thread(target=reader, args=(name,)) for name in contents]
    for r in readers:
        r.start()
    killer.finish(120)
    for r in readers:
        r.join()
    assert not wrong and rounds[0] >= 3


@pytest.mark.limit(120)
def test_readers_beside_a_replacer_get_one_version(mount, bucket):
    """A whole version, or ESTALE where the rest of it is gone."""
    m = mount()
    versions = [pattern(20 * MIB, i) for i in range(4)]
    good = {digest(v) for v in versions}
    bucket.put(m.key("f.bin"), versions[0])
    done = threading.Event()

    def replace():
        for v in versions[1:] * 3:
            bucket.put(m.key("f.bin"), v)
        done.set()

    replacer = threading.Thread(target=replace)
    replacer.start()
    whole = stale = 0
    while not done.is_set() or not whole:
        try:
            got = read_whole(m.path / "f.bin")
        except OSError as e:
            assert e.errno == 116, e
            stale += 1
            continue
        whole += 1
        assert digest(got) in good
    replacer.join()
    assert whole


# -- little memory


@pytest.mark.parametrize("memory", ["64Mi", "128Mi"])
def test_many_files_at_once_in_little_memory(mount, bucket, memory):
    m = mount(env={"STATEPROXY_MEMORY_LIMIT": memory})
    contents = {f"f{i}.bin": pattern(12 * MIB + i, i) for i in range(12)}
    for name, data in contents.items():
        bucket.put(m.key(name), data)
    got = {}

    def one(name):
        got[name] = digest(read_whole(m.path / name))

    readers = [threading.Thread(target=one, args=(name,)) for name in contents]
    for r in readers:
        r.start()
    for r in readers:
        r.join()
    assert got == {name: digest(data) for name, data in contents.items()}


# -- within cache.open_ttl


def cached(mount, proxy, **kwargs):
    return mount(via=proxy, env={"STATEPROXY_CACHE_OPEN_TTL": "60s"}, **kwargs)


@pytest.mark.counts
@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas"])
def test_hot_small_file_costs_no_request(mount, proxy, bucket, variant):
    m = cached(mount, proxy, variant=variant)
    bucket.put(m.key("f.txt"), b"x" * 4096)
    assert read_whole(m.path / "f.txt") == b"x" * 4096
    proxy.wait_idle()
    proxy.reset_counts()
    for _ in range(50):
        assert read_whole(m.path / "f.txt") == b"x" * 4096
        os.stat(m.path / "f.txt")
    proxy.wait_idle()
    assert not proxy.counts()


def test_hot_file_after_a_change_made_here(mount, proxy, bucket):
    """The promise is about other machines' changes: our own are seen at once."""
    m = cached(mount, proxy)
    bucket.put(m.key("f.txt"), b"old")
    assert read_whole(m.path / "f.txt") == b"old"
    (m.path / "f.txt").write_bytes(b"newer")
    assert read_whole(m.path / "f.txt") == b"newer"
    os.unlink(m.path / "f.txt")
    assert not (m.path / "f.txt").exists()


def test_hot_file_and_compare_and_set(mount, proxy, bucket):
    """The baseline is what was read: a write after an old answer is refused, and the next read
    after the refusal asks S3."""
    m = cached(mount, proxy, variant="s3-buffered-cas")
    bucket.put(m.key("f.txt"), b"first")
    assert read_whole(m.path / "f.txt") == b"first"
    bucket.put(m.key("f.txt"), b"theirs")
    assert read_whole(m.path / "f.txt") == b"first"     # as old as the TTL allows
    with pytest.raises(FileExistsError):
        (m.path / "f.txt").write_bytes(b"first, changed")
    assert bucket.get(m.key("f.txt")) == b"theirs"
    assert read_whole(m.path / "f.txt") == b"theirs"
    (m.path / "f.txt").write_bytes(b"theirs, changed")
    assert bucket.get(m.key("f.txt")) == b"theirs, changed"
