"""What a child writes of a file that its parent has read: the parent goes on from it when it has waited
for the child, however it has spent the time, and not before."""

import subprocess

import pytest

from harness import util
from harness.work import PYTHON
from test_cas import CAS

START = """
import os, signal, subprocess, sys
f = sys.argv[1]
SED = ["sed", "-i", "s/1/2/", f]
TWICE = ["sh", "-c", 'sed -i s/1/3/ "$1"; sed -i s/3/2/ "$1"; :', "sh", f]
def read():
    with open(f) as file:
        return file.read()
def write(text):
    with open(f, "w") as file:
        file.write(text)
def spin(child):
    while child.poll() is None:
        pass
def stays():
    "A child that has written, and lives on until its input ends."
    child = subprocess.Popen(["sh", "-c", 'sed -i s/1/2/ "$1"; echo; read x; :', "sh", f],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    return child
assert read() == "1\\n"
"""
WAITED = {
    "its output was read": "subprocess.run(SED, capture_output=True, check=True)",
    "it was polled": "spin(subprocess.Popen(SED))",
    "a grandchild wrote": "subprocess.run(TWICE[:2] + ['(' + TWICE[2] + '); :'] + TWICE[3:],"
                          " capture_output=True, check=True)",
    "it wrote twice": "subprocess.run(TWICE, capture_output=True, check=True)",
    "one after the other": "for s in 's/1/3/', 's/3/2/': "
                           "subprocess.run(['sed', '-i', s, f], capture_output=True, check=True)",
    "it wrote and removed it": "subprocess.run(['sh', '-c', 'echo 3 >\"$1\"; rm \"$1\"', 'sh', f],"
                               " capture_output=True, check=True)",
    "it executed another": '''
subprocess.run([sys.executable, "-c", "import os, sys; file = open(sys.argv[1], 'w'); file.write('3'); "
                "file.flush(); os.execv('/bin/true', ['true'])", f], check=True)
''',
    "it had stayed": "child = stays(); child.communicate()",
    "it was killed": "child = stays(); child.kill(); spin(child)",
}
OUTLIVES = """
def outlives(who_opens):
    "A child starts another, ends, and is waited for; then the grandchild writes."
    go, done, ready = os.pipe(), os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        opened = lambda: os.open(f, os.O_WRONLY | os.O_TRUNC)
        fd = opened() if who_opens == "child" else None
        if os.fork() == 0:
            fd = opened() if who_opens == "grandchild" else fd
            os.write(ready[1], b"x")
            os.read(go[0], 1)
            fd = opened() if who_opens == "grandchild, later" else fd
            os.write(fd, b"2\\n")
            os.close(fd)
            os.write(done[1], b"x")
            os._exit(0)
        os.read(ready[0], 1)
        os._exit(0)
    os.waitpid(child, 0)
    os.write(go[1], b"x")
    os.read(done[0], 1)
"""
NOT_WAITED = {
    "it lives": "child = stays()",
    "a grandchild has outlived it": OUTLIVES + "outlives('grandchild, later')",
    "a grandchild had opened it": OUTLIVES + "outlives('grandchild')",
    "a grandchild has its descriptor": OUTLIVES + "outlives('child')",
    "it is a zombie": "child = subprocess.Popen(SED)\n"
                      "while ') Z ' not in open(f'/proc/{child.pid}/stat').read(): pass",
    "nobody waits": "signal.signal(signal.SIGCHLD, signal.SIG_IGN); child = stays(); "
                    "child.stdin.close(); child.stdout.read()\n"
                    "while os.path.exists(f'/proc/{child.pid}'): pass",
    "it lives, another has ended": "child = stays(); subprocess.run(['true'], capture_output=True)",
}


@pytest.fixture
def m(mount, bucket):
    m = mount(variant=CAS)
    bucket.put(m.key("f"), b"1\n")
    return m


def program(code, m):
    return util.spawn([*PYTHON, "-c", START + code, m.path / "f"], stdin=subprocess.PIPE,
                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("how", WAITED)
def test_a_parent_that_has_waited(m, bucket, how):
    """... knows what there is, and overwrites it; twice, as its own."""
    parent = program(f"{WAITED[how]}\nwrite('4')\nassert read() == '4'\nwrite('5')", m)
    assert parent.communicate() == ("", "")
    assert parent.returncode == 0
    assert bucket.get(m.key("f")) == b"5"


@pytest.mark.parametrize("how", NOT_WAITED)
def test_a_parent_that_has_not(m, bucket, how):
    """... is refused until it has read again."""
    parent = program(f"""
{NOT_WAITED[how]}
for i in range(2):
    try:
        write("4")
    except FileExistsError:
        print(open(f).read() if i else "refused")
write("5")
""", m)
    assert parent.communicate() == ("refused\n2\n\n", "")
    assert parent.returncode == 0
    assert bucket.get(m.key("f")) == b"5"


@pytest.mark.parametrize("since", [True, False], ids=["since", "before"])
def test_another_has_written(m, bucket, since):
    """After the child, or before it: a version that neither has made."""
    child = "subprocess.run(SED, capture_output=True, check=True)"
    stop = "print('now', flush=True); sys.stdin.readline()"
    parent = program("\n".join([child, stop] if since else [stop, child]) + """
try:
    write("4")
except FileExistsError:
    print("refused")
""", m)
    assert parent.stdout.readline() == "now\n"
    bucket.put(m.key("f"), b"1 of another\n")
    assert parent.communicate("\n") == ("refused\n", "")
    assert bucket.get(m.key("f")) == (b"1 of another\n" if since else b"2 of another\n")


def test_a_writer_that_reads_while_its_child_has_it_open(m, bucket):
    """It had only ever written the file when the child opened it: then the child's write would have been
    its own. What it writes after it has read is built on what it read."""
    parent = program("""
write("3")
child = subprocess.Popen(["sh", "-c", 'exec 4>"$1"; echo; read x; echo 2 >&4; exec 4>&-; echo; read x',
                          "sh", f], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
assert read() == "3"
child.stdin.write(b"go\\n")
child.stdin.flush()
child.stdout.readline()
try:
    write("4")
except FileExistsError:
    print("refused")
""", m)
    assert parent.communicate() == ("refused\n", "")
    assert bucket.get(m.key("f")) == b"2\n"


def test_what_a_child_has_emptied(m, bucket):
    """All empty objects have one ETag: another's is not the child's."""
    parent = program("""
subprocess.run(["sh", "-c", ': >"$1"', "sh", f], capture_output=True, check=True)
write("4")
subprocess.run(["sh", "-c", 'cat "$1"; : >"$1"', "sh", f], capture_output=True, check=True)
print("now", flush=True); sys.stdin.readline()
os.stat(f)
try:
    write("5")
except FileExistsError:
    print("refused")
""", m)
    assert parent.stdout.readline() == "now\n"
    bucket.put(m.key("f"), b"")
    assert parent.communicate("\n") == ("refused\n", "")
    assert bucket.get(m.key("f")) == b""


def test_more_steps_than_there_is_room_for(m, bucket):
    """Then the oldest are refused, and no write is lost."""
    names = [f"f{i}" for i in range(70)]
    for name in names:
        bucket.put(m.key(name), b"1\n")
    parent = program("""
top = os.path.dirname(f)
names = [os.path.join(top, f"f{i}") for i in range(70)]
for f in names:
    assert read() == "1\\n"
subprocess.run(["sed", "-i", "s/1/2/", *names], capture_output=True, check=True)
refused = []
for f in names:
    try:
        write("4")
    except FileExistsError:
        refused.append(os.path.basename(f))
print(*refused)
""", m)
    out, err = parent.communicate()
    assert (err, parent.returncode) == ("", 0)
    assert out.split() == names[:6]
    assert [bucket.get(m.key(n)) for n in names] == [b"2\n"] * 6 + [b"4"] * 64
    m.check()
