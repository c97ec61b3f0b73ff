import json, os, time, subprocess, sys
import pytest
from harness import probed, util
from harness.killer import Killer
from test_cas import CAS, FOREVER, PATIENT, end_kills, run_all, start
from test_rename_cas import SAVE

NP = int(os.environ.get("NP", "4"))

@pytest.mark.limit(200)
@pytest.mark.parametrize("i", range(int(os.environ.get("STORMS", "10"))))
@pytest.mark.parametrize("copy", [True])
def test_storm(mount, s3server, proxy, bucket, i, copy):
    if not probed.is_known(s3server.endpoint):
        mount(variant=CAS).stop()
    kept = {}
    if copy:
        proxy.add_rule("copy_conditions")
        kept = {"kept": {"copy": 1}}
    mounts = [mount(variant=CAS, via=proxy, is_open=lambda: True, env=PATIENT, **kept) for _ in range(2)]
    bucket.put("p/c.json", b'{"count": 0}')
    killers = [Killer(m, FOREVER, seed=7000 + i * 100 + j, low=0.01, high=0.06) for j, m in enumerate(mounts)]
    for k in killers:
        k.start()
    procs = [start(SAVE, mounts[j % 2].path / "c.json", int(os.environ.get("INC", "6"))) for j in range(NP)]
    end = time.monotonic() + 25
    while time.monotonic() < end and any(p.poll() is None for p in procs):
        time.sleep(0.1)
    end_kills(killers)
    end = time.monotonic() + 15
    while time.monotonic() < end and any(p.poll() is None for p in procs):
        time.sleep(0.1)
    stuck = [p for p in procs if p.poll() is None]
    if stuck:
        before = json.dumps([[m.inflight(), m.status()["tables"], m.ctl("sessions", check=False).out] for m in mounts], indent=1)
        c0 = proxy.counts()
        time.sleep(8)
        print("STUCK", [m.inflight() for m in mounts], before, c0, proxy.counts())
        for m in mounts:
            for pid in m.worker_pids():
                out = subprocess.run(["gdb", "-p", str(pid), "-batch", "-ex", "bt 4", "-x", "/tmp/hA-dump.py"], capture_output=True, text=True); out = out.stdout + out.stderr
                print(pid, out)
            print("\n".join(l for l in m.log().splitlines() if "worker ended" not in l)[-6000:])
        progress = [p for p in procs if p.poll() is None]
        if progress:
            open("/tmp/hA-stuck", "w").write("x")
            time.sleep(int(os.environ.get("HOLD", "0")))
            assert False, "stuck"
    codes = [p.wait() for p in procs]
    assert codes == [0] * NP, [p.stderr and p.stderr.read() for p in procs]
    assert bucket.get("p/c.json") == b'{"count": %d}' % (NP * int(os.environ.get("INC", "6")))
    for m in mounts:
        m.check()
