import subprocess
def test_d(mount, bucket):
    m = mount(variant="s3-buffered-cas", workers=1)
    out = subprocess.run(["gdb", "-p", str(m.worker_pids()[0]), "-batch", "-x", "/tmp/hA-where2.py"], capture_output=True, text=True)
    print(out.stdout[-3500:], out.stderr[-1000:])
