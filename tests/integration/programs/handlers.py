"""What handlers do with files, beyond what Asya's patched open can do. Run as

    handlers.py TOP NAME...

it does these, each in a new directory below TOP, checks what it finds, and prints a line of JSON for each: name, null or
the error."""

import io
import json
import mmap
import os
import pathlib
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
import zipfile

TOP = pathlib.Path()


def make(name="f.bin", data=b"0123456789"):
    (TOP / name).parent.mkdir(parents=True, exist_ok=True)
    with open(TOP / name, "wb") as f:
        f.write(data)
    return TOP / name


# ---- names

def scandir():
    make("d/a")
    make("b", b"12345")
    found = {e.name: (e.is_dir(), e.is_file(), e.stat().st_size if e.is_file() else 0) for e in os.scandir(TOP)}
    assert found == {"d": (True, False, 0), "b": (False, True, 5)}, found


def walk():
    make("d/e/a")
    make("b")
    assert [(os.path.relpath(d, TOP), sorted(ds), sorted(fs)) for d, ds, fs in os.walk(TOP)] == \
        [(".", ["d"], ["b"]), ("d", ["e"], []), ("d/e", [], ["a"])]
    assert sorted(p.name for p in TOP.rglob("*")) == ["a", "b", "d", "e"]


def rename():
    path = make()
    os.rename(path, TOP / "g.bin")
    assert os.listdir(TOP) == ["g.bin"] and (TOP / "g.bin").read_bytes() == b"0123456789"


def replace():
    """The usual way to save: a file beside it, flushed, and moved over it."""
    make("state", b"old")
    with open(TOP / "state.tmp", "wb") as f:
        f.write(b"new")
        f.flush()
        os.fsync(f.fileno())
    os.replace(TOP / "state.tmp", TOP / "state")
    assert os.listdir(TOP) == ["state"] and (TOP / "state").read_bytes() == b"new"


def directories():
    os.makedirs(TOP / "a/b")
    assert os.path.isdir(TOP / "a/b") and not os.path.isfile(TOP / "a")
    os.rmdir(TOP / "a/b")
    os.rmdir(TOP / "a")
    assert os.listdir(TOP) == [] and not os.path.exists(TOP / "a")


# ---- attributes

def chmod():
    path = make()
    os.chmod(path, 0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.access(path, os.R_OK | os.W_OK) and path.read_bytes() == b"0123456789"


def times():
    path = make()
    assert abs(path.stat().st_mtime - time.time()) < 100
    os.utime(path, (10 ** 9, 10 ** 9))
    assert path.stat().st_mtime == 10 ** 9
    assert not os.path.samefile(path, make("other"))


# ---- descriptors

def read_at():
    fd = os.open(make(), os.O_RDONLY)
    assert os.pread(fd, 3, 4) == b"456" and os.fstat(fd).st_size == 10
    os.close(fd)


def write_from_start():
    fd = os.open(TOP / "f.bin", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    for i in range(3):
        os.write(fd, b"%d" % i * 4)
    os.fsync(fd)
    os.close(fd)
    assert (TOP / "f.bin").read_bytes() == b"000011112222"


def write_at():
    path = make()
    fd = os.open(path, os.O_RDWR)
    os.pwrite(fd, b"xx", 4)
    os.close(fd)
    assert path.read_bytes() == b"0123xx6789"


def update_in_place():
    path = make()
    with open(path, "r+b") as f:
        f.seek(8)
        f.write(b"xyz")
    assert path.read_bytes() == b"01234567xyz"


def append():
    for i in range(3):
        with open(TOP / "log", "a") as f:
            f.write(f"line {i}\n")
    assert (TOP / "log").read_text() == "line 0\nline 1\nline 2\n"


def text_in_pathlib():
    (TOP / "t").write_text("a\nb\n")
    assert (TOP / "t").read_text().splitlines() == ["a", "b"]
    with (TOP / "t").open() as f:
        assert next(f) == "a\n"


def map_to_read():
    with open(make("f.bin", bytes(range(256)) * 100), "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
        assert m[255] == 255 and m.find(b"\x05\x06") == 5 and len(m) == 25600


def map_to_write():
    path = make()
    with open(path, "r+b") as f:
        with mmap.mmap(f.fileno(), 0) as m:
            m[2:4] = b"mm"
            m.flush()
    assert path.read_bytes() == b"01mm456789"


# ---- programs

def copy2():
    path = make()
    os.utime(path, (10 ** 9, 10 ** 9))
    shutil.copy2(path, TOP / "copy")
    assert (TOP / "copy").read_bytes() == b"0123456789" and (TOP / "copy").stat().st_mtime == 10 ** 9
    shutil.copytree(TOP, TOP.parent / (TOP.name + "-tree"))
    shutil.move(TOP / "copy", TOP / "moved")
    assert sorted(os.listdir(TOP)) == ["f.bin", "moved"]


def other_programs():
    make("f", b"one\ntwo\n")
    out = subprocess.run(["sh", "-ec", 'cp f g; grep two g; sort -r f >h; tail -n 1 h; tar -cf t.tar f g; tar -tf t.tar'],
                         cwd=TOP, check=True, capture_output=True, text=True).stdout
    assert out == "two\none\nf\ng\n", out


# ---- libraries

def array():
    import numpy
    return numpy.arange(50000, dtype="f4").reshape(100, 500)


def bytes_of(save, *args):
    """What save(file, *args) writes."""
    buf = io.BytesIO()
    save(buf, *args)
    return buf.getvalue()


def numpy_load():
    import numpy
    a = array()
    make("a.npy", bytes_of(numpy.save, a))
    make("a.bin", a.tobytes())
    assert (numpy.load(TOP / "a.npy") == a).all()
    assert numpy.load(TOP / "a.npy", mmap_mode="r")[-1, -1] == 49999
    assert (numpy.memmap(TOP / "a.bin", "f4", "r")[1000:1010] == range(1000, 1010)).all()


def numpy_savez():
    import numpy
    a = array()
    numpy.savez(TOP / "a.npz", a=a, b=a[:5])
    with numpy.load(TOP / "a.npz") as z:
        assert (z["a"] == a).all() and (z["b"] == a[:5]).all()


def numpy_save():
    import numpy
    a = array()
    numpy.save(TOP / "a.npy", a)
    assert (numpy.load(TOP / "a.npy") == a).all()


def numpy_memmap():
    import numpy
    m = numpy.memmap(TOP / "a.bin", "f4", "w+", shape=(100, 500))
    m[:] = array()
    m.flush()
    del m
    assert (numpy.fromfile(TOP / "a.bin", "f4") == array().ravel()).all()


def h5py_read():
    import h5py
    buf = io.BytesIO()
    with h5py.File(buf, "w") as f:
        f["x"] = range(1000)
    make("a.h5", buf.getvalue())
    with h5py.File(TOP / "a.h5") as f:
        assert f["x"][:].sum() == 499500


def h5py_write():
    import h5py
    with h5py.File(TOP / "a.h5", "w") as f:
        f.create_dataset("x", data=range(1000), chunks=(100,), compression="gzip")
    with h5py.File(TOP / "a.h5", "a") as f:
        f["y"] = f["x"][:] * 2
    with h5py.File(TOP / "a.h5") as f:
        assert f["y"][:].sum() == 999000


def frame():
    import pandas
    return pandas.DataFrame({"n": range(1000), "text": [f"row {i}" for i in range(1000)]})


def parquet_read():
    import pandas
    kept = {}

    class Kept(io.BytesIO):
        def close(self):
            kept["data"] = self.getvalue()
    frame().to_parquet("a", engine="fastparquet", open_with=lambda *_: Kept())
    make("a.parquet", kept["data"])
    found = pandas.read_parquet(TOP / "a.parquet", engine="fastparquet", columns=["n"])
    assert found["n"].sum() == 499500


def parquet_write():
    import pandas
    frame().to_parquet(TOP / "a.parquet", engine="fastparquet")
    assert len(pandas.read_parquet(TOP / "a.parquet", engine="fastparquet")) == 1000


def csv():
    import pandas
    frame().to_csv(TOP / "a.csv", index=False)
    assert pandas.read_csv(TOP / "a.csv")["n"].sum() == 499500


def safetensors_read():
    from safetensors import safe_open
    from safetensors.numpy import load_file, save
    make("m.safetensors", save({"w": array()}))
    assert (load_file(TOP / "m.safetensors")["w"] == array()).all()
    with safe_open(TOP / "m.safetensors", "numpy") as f:
        assert f.get_slice("w")[10:12].sum() == array()[10:12].sum()


def safetensors_write():
    from safetensors.numpy import load_file, save_file
    save_file({"w": array()}, TOP / "m.safetensors")
    assert (load_file(TOP / "m.safetensors")["w"] == array()).all()


def sqlite_read():
    db = sqlite3.connect(":memory:")
    db.executescript("create table t (n); insert into t values (1), (2), (3);")
    make("a.db", db.serialize())
    with sqlite3.connect(f"file:{TOP}/a.db?mode=ro", uri=True) as db:
        assert db.execute("select sum(n) from t").fetchone() == (6,)


def sqlite_write():
    for step in range(2):
        db = sqlite3.connect(TOP / "a.db")
        db.execute("create table if not exists t (n)")
        with db:
            db.executemany("insert into t values (?)", [(i,) for i in range(1000)])
        assert db.execute("select count(*) from t").fetchone() == (1000 * (step + 1),)
        db.close()
    assert os.listdir(TOP) == ["a.db"]


def zip_write():
    with zipfile.ZipFile(TOP / "a.zip", "w") as z:
        z.writestr("a", b"1" * 1000)
        z.writestr("b", b"2")
    with zipfile.ZipFile(TOP / "a.zip") as z:
        assert z.testzip() is None and z.read("b") == b"2"


def zip_append():
    zip_write()
    with zipfile.ZipFile(TOP / "a.zip", "a") as z:
        z.writestr("c", b"3")
    with zipfile.ZipFile(TOP / "a.zip") as z:
        assert z.testzip() is None and z.namelist() == ["a", "b", "c"]


if __name__ == "__main__":
    for name in sys.argv[2:]:
        TOP = pathlib.Path(sys.argv[1]) / name
        TOP.mkdir()
        error = None
        try:
            globals()[name]()
        except Exception as e:
            error = repr(e)
        print(json.dumps([name, error]), flush=True)
