"""Names that are not UTF-8: a key of S3 is UTF-8, and servers refuse anything else. Nothing comes of such a call, and
what is beside it is not disturbed. Names that are UTF-8, whatever is in them, are names."""

import errno
import os

import pytest

VARIANTS = ["s3-buffered-lww", "s3-buffered-cas"]
BAD = [b"\xff.txt", b"latin-\xe9", b"half-\xc3", b"surrogate-\xed\xa0\x80.txt", b"overlong-\xc0\xaf"]
GOOD = [b"\xc3\xbc.txt", "\U0001f600 \u200f".encode(), b"back\\slash", b" both ends ", b"%41+&=?#;", b"new\nline",
        b"quote\"'<>", b"-rf", b"*?[x]"]


@pytest.fixture(params=["s3server", "minio", "moto"])
def m(mount, bucket_at, request):
    server = request.getfixturevalue(request.param)
    return mount(via=server, s3=bucket_at(server))


def refused(call, *args):
    """EINVAL; where the server says that there is none, ENOENT is as good."""
    with pytest.raises(OSError) as e:
        call(*args)
    assert e.value.errno in (errno.EINVAL, errno.ENOENT), e.value


def test_not_utf_8(m):
    top = os.fsencode(m.path)
    with open(top + b"/good.txt", "wb") as f:
        f.write(b"content")
    for bad in BAD:
        path = top + b"/" + bad

        def write():        # (the close tells, if the open has not)
            with open(path, "wb") as f:
                f.write(b"x")

        for make in (write, lambda: os.mkdir(path), lambda: os.symlink("x", path),
                     lambda: os.rename(top + b"/good.txt", path)):
            with pytest.raises(OSError, match=rf"\[Errno {errno.EINVAL}\]"):
                make()
        refused(os.stat, path)
        refused(os.unlink, path)
        assert os.listdir(top) == [b"good.txt"]
    with open(top + b"/good.txt", "rb") as f:
        assert f.read() == b"content"
    m.check()


@pytest.mark.parametrize("variant", VARIANTS)
def test_utf_8(mount, bucket, variant):
    m = mount(variant=variant)
    top = os.fsencode(m.path)
    for name in GOOD:
        with open(top + b"/" + name, "wb") as f:
            f.write(name)
        os.mkdir(top + b"/d" + name)
    assert sorted(os.listdir(top)) == sorted(GOOD + [b"d" + name for name in GOOD])
    other = os.fsencode(mount(variant=variant).path)
    assert sorted(os.listdir(other)) == sorted(os.listdir(top))
    for name in GOOD:
        assert bucket.get(m.key(name.decode())) == name
        os.rename(other + b"/" + name, other + b"/d" + name + b"/moved")
        with open(top + b"/d" + name + b"/moved", "rb") as f:
            assert f.read() == name
