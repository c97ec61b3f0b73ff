"""Ad hoc: after each section, undoing by the log gives the bytes of before."""
import collections, ctypes, os, re, struct, signal, threading
import pytest
import test_every_step as T
from harness import stepper

found = collections.Counter()

class Undo(stepper._Tracee):
    def image(self):
        out = {}
        at, size = 0, os.fstat(self.seg).st_size
        while at < size:
            try:
                at = os.lseek(self.seg, at, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(self.seg, at, os.SEEK_HOLE)
            for p in range(at, end, 65536):
                out[p] = os.pread(self.seg, min(65536, end - p), p)
            at = end
        return out

    def run(self, n):
        for line in open(f"/proc/{self.pid}/maps"):
            f = line.split(maxsplit=5)
            if len(f) == 6 and "rw-s" in f[1] and "memfd" in f[5] and int(f[0].split("-")[1], 16) - int(f[0].split("-")[0], 16) > 30 << 20:
                self.base_at, self.inode, self.where = int(f[0].split("-")[0], 16), f[4], f[5].strip()
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                if os.stat(f"/proc/{self.pid}/fd/{fd}").st_ino == int(self.inode) and "memfd" in os.readlink(f"/proc/{self.pid}/fd/{fd}"):
                    self.seg = os.open(f"/proc/{self.pid}/fd/{fd}", os.O_RDONLY)
            except OSError:
                pass
        depth, before = 0, None
        points, sig = [], 0
        for at in self.at:
            self._poke(at, stepper.INT3)
        while True:
            sig = self._go_on(stepper.CONT, sig)
            assert not self.ended
            if sig == signal.SIGTRAP:
                regs, sig = self._regs(), 0
                at = regs.rip - 1
                caller, = struct.unpack("<Q", self._peek(regs.rsp, 8))
                name = self.symbols.name(caller - 1 - self.base)
                points.append(name)
                m = regs.rsi
                rank, = struct.unpack("<I", self._peek(m + 40, 4))
                if rank == 1:
                    if self.at[at] == "shm_lock":
                        before = self.image()
                    elif before is not None:
                        self.compare(before, m, name)
                        before = None
                self._step_over(regs, at)
            if self.told:
                self._detach()
                os.close(self.seg)
                return points, False

    def compare(self, before, m, name):
        used, = struct.unpack("<I", self._peek(m + 44, 4))
        log = self._peek(m + 64, used) if used else b""
        after = {k: bytearray(v) for k, v in self.image().items()}
        end = used
        keys = sorted(after)
        def put(off, data):
            import bisect
            while data:
                k = keys[bisect.bisect(keys, off) - 1]
                o = off - k
                n = min(len(data), len(after[k]) - o)
                after[k][o:o + n] = data[:n]
                data, off = data[n:], off + n
        while end > 0:
            ln, padded, off = struct.unpack("<IIQ", log[end - 16:end])
            put(off, log[end - 16 - padded:end - 16 - padded + ln])
            end -= 16 + padded
        mo = m - self.base_at
        for k, v in after.items():
            b = before.get(k, bytes(len(v)))
            if len(b) != len(v):
                continue
            if v == b:
                continue
            for i in range(0, len(v), 4):
                if v[i:i + 4] != b[i:i + 4] and not mo <= k + i < mo + 64 + 65536:
                    found[name, k + i] += 1

def test_undo(mount, bucket, actor):
    stepper._Tracee = Undo
    m = mount(variant=T.CAS, workers=1)
    raw, a = bucket.raw(), actor()
    worker = T.nothing_left(m)
    for i, sc in enumerate([*T.OF_CAS, T.mkdir, T.rmdir, T.write_new, T.append]):
        _, worker = T.run_once(T.Scene(m, bucket, raw, a, 1000 + i), sc, worker)
    show(m)

def test_undo_lww(mount, bucket, actor):
    found.clear()
    stepper._Tracee = Undo
    m = mount(variant=T.LWW, workers=1)
    raw, a = bucket.raw(), actor()
    worker = T.nothing_left(m)
    for i, sc in enumerate([*T.OF_LWW, T.close, T.open_truncated, T.exclusive]):
        _, worker = T.run_once(T.Scene(m, bucket, raw, a, 2000 + i), sc, worker)
    show(m)

def show(m):
    import subprocess
    by = collections.defaultdict(list)
    for (name, off), n in sorted(found.items()):
        by[name].append((off, n))
    for name, x in by.items():
        print("UNSAVED", name, len(x), x[:12])
    pid = m.worker_pids()[0]
    offs = sorted({o for _, o in found})[:60]
    script = "/tmp/hA-where.py"
    open(script, "w").write(f"""
import gdb
f = gdb.newest_frame()
while f and f.name() != "worker_main": f = f.older()
f.select()
shm = gdb.parse_and_eval("w")["shm"]
base = int(shm["base"])
P = gdb.parse_and_eval
N = int(P("sizeof(struct shm_node)")); S = int(P("sizeof(struct shm_session)")); R = int(P("sizeof(struct shm_record)")); A = int(P("sizeof(struct shm_arena)"))
starts = {{}}
starts["node"] = (int(P("(long)shm_node_at((struct shm*)%d, 0)" % int(shm))) - base, N, 65536)
starts["record"] = (int(P("(long)shm_arena_record((struct shm*)%d, 0, 0)" % int(shm))) - base, R, 500)
starts["arena"] = (int(P("(long)shm_arena_of((struct shm*)%d, 0)" % int(shm))) - base, A, 1)
starts["stats"] = (int(P("(long)shm_stats_of((struct shm*)%d, 0)" % int(shm))) - base, int(P("sizeof(struct shm_stats)")), 2)
for k in ("sessions", "nodes", "blocks", "handles", "notify", "header", "meta"):
    try: starts["T_" + k] = (int(shm[k]) - base, 1 << 24, 1)
    except Exception as e: print(k, e)
print(starts)
for o in {offs}:
    c = [(o - s, k, (o - s) // n, (o - s) % n) for k, (s, n, cnt) in starts.items() if s <= o < s + n * cnt]
    print(o, sorted(c)[:2])
""")
    print(subprocess.run(["gdb", "-p", str(pid), "-batch", "-x", script], capture_output=True, text=True).stdout[-6000:])
