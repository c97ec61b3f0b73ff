"""Large files, in parts both ways, while one request in twenty fails and workers are killed: no wrong byte, no torn
file, nothing that hangs. STATEPROXY_TEST_LARGE_MIB is how much each case reads and writes."""

import os

import pytest

from harness import SLOW, util
from harness.killer import Killer
from test_many_faults import Program, told_lines

MIB = 1 << 20
MOVES = int(os.environ.get("STATEPROXY_TEST_LARGE_MIB", "400" if SLOW == 1 else "120")) * MIB
THREADS = 3
SMALL_PARTS = {"STATEPROXY_UPLOAD_MULTIPART_THRESHOLD": "5Mi", "STATEPROXY_UPLOAD_PART_SIZE": "5Mi",
               "STATEPROXY_UPLOAD_COPY_LIMIT": "5Mi", "STATEPROXY_READ_PART_SIZE": "1Mi",
               "STATEPROXY_BUFFER_MEMORY": "1Mi", "STATEPROXY_MEMORY_LIMIT": "64Mi",
               "STATEPROXY_S3_DEADLINE": f"{int(30 * SLOW)}s"}
# What acts once more, or too late, when the answer to it is lost: nobody can name it, or it brings an upload back.
LEAVES = ("CreateMultipartUpload", "UploadPart", "UploadPartCopy")


class Large(Program):
    """Each file has its size from around the boundaries of parts. `moved`: bytes."""

    kinds = ("write", "write", "append", "read", "read", "pieces", "rename", "delete", "list")
    files = 3

    def __init__(self, path, number, seed, streams):
        super().__init__(path, number, seed, ops=0)
        self.moved = 0
        if not streams:
            self.kinds += ("patch", "patch")

    def run(self):
        while self.moved < MOVES // THREADS and not self.trouble:
            self.ops = 1
            super().run()

    def some(self):
        near = self.random.choice((0, 1, 5, 5, 10, 10, 15, 24)) * MIB
        return self.random.randbytes(max(0, near + self.random.choice((-1, 0, 1, 4096, 300_001))))

    def put(self, name, data, flags):
        """In pieces, as programs write."""
        fd = os.open(self.dir / name, os.O_WRONLY | flags, 0o666)
        try:
            view = memoryview(data)
            while view:
                n = os.write(fd, view[:self.random.randrange(1, MIB)])
                self.moved += n
                view = view[n:]
        finally:
            os.close(fd)

    def write(self, name, old):
        new = self.some()
        self.may_be(name, old, new)
        self.put(name, new, os.O_CREAT | os.O_TRUNC)
        self.may_be(name, new)

    def append(self, name, old):
        if old is None or len(old) > 40 * MIB:
            return
        more = self.some()[:6 * MIB]
        self.may_be(name, old, old + more)
        self.put(name, more, os.O_APPEND)
        self.may_be(name, old + more)

    def patch(self, name, old):
        """A few bytes of what is there."""
        if not old:
            return
        new, changes = bytearray(old), []
        for _ in range(self.random.randrange(1, 4)):
            at = self.random.randrange(len(old))
            data = self.random.randbytes(min(4096, len(old) - at))
            new[at:at + len(data)] = data
            changes.append((data, at))
        self.may_be(name, old, bytes(new))
        fd = os.open(self.dir / name, os.O_RDWR)
        try:
            for data, at in changes:
                os.pwrite(fd, data, at)
        finally:
            os.close(fd)
        self.moved += len(old)
        self.may_be(name, bytes(new))

    def get(self, name):
        got = super().get(name)
        self.moved += len(got or b"")
        return got

    def pieces(self, name, old):
        if not old:
            return
        fd = os.open(self.dir / name, os.O_RDONLY)
        try:
            for _ in range(10):
                at = self.random.randrange(len(old))
                n = self.random.choice((1, 4096, 100_000, MIB))
                assert os.pread(fd, n, at) == old[at:at + n], f"{name}: wrong bytes at {at}"
                self.moved += n
        finally:
            os.close(fd)


@pytest.mark.slow
@pytest.mark.limit(120 + MOVES // MIB)
@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas", "s3-passthrough"])
def test_one_request_in_twenty_fails(mount, proxy, bucket, seed, variant):
    m = mount(via=proxy, variant=variant, env=SMALL_PARTS)
    programs = [Large(m.path, i, seed, variant == "s3-passthrough") for i in range(THREADS)]
    for p in programs:
        os.mkdir(p.dir)
    begun = len(told_lines(m))
    proxy.add_faults(0.05, seed, lost_ms=30, slow_ms=30)
    proxy.add_rule("cut_response", op="GetObject", probability=0.02, seed=seed)
    proxy.add_rule("cut_request", op="UploadPart", probability=0.02, seed=seed)
    killer = Killer(m, 1 << 30, seed, low=0.3, high=1.5)
    killer.start()
    for p in programs:
        p.start()
    for p in programs:
        p.join()
    killer.cancelled.set()
    killer.join(30)
    proxy.clear_rules()
    trouble = [p.trouble for p in programs if p.trouble]
    if trouble or killer.error:
        pytest.fail("\n".join([*trouble, str(killer.error or "")]))
    for p in programs:
        p.holds(bucket, m)
    lost = [x for x in proxy.log() if x.op in LEAVES and (x.faults or x.status != 200)]
    util.wait_until(lambda: len(bucket.uploads()) <= len(lost), 20, "the uploads' end")
    print(f"{variant}: {sum(p.moved for p in programs) // MIB} MiB, {sum(len(p.history) for p in programs)} operations, "
          f"{sum(len(p.told) for p in programs)} failures told in {len(told_lines(m)) - begun} lines, {killer.kills} "
          f"deaths, {len(lost)} requests of uploads met a fault, {len(bucket.uploads())} uploads are left")
    m.check()
