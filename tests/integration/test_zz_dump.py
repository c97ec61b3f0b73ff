import subprocess
def test_d(mount, bucket):
    m = mount(variant="s3-buffered-cas")
    (m.path/"a").write_text("x")
    out = subprocess.run(["gdb", "-p", str(m.worker_pids()[0]), "-batch", "-ex", "bt 4", "-x", "/tmp/hA-dump.py"], capture_output=True, text=True)
    print(out.stdout[-3500:], out.stderr)
