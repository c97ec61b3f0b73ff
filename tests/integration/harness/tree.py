"""Making and comparing trees of files, in a directory and below a prefix of a bucket."""

import os
import random

from .pattern import pattern


def make_tree(path, files, seed, max_size=20000, depth=3):
    """A directory tree of `files` files with seeded names, sizes and bytes; some are empty."""
    rng = random.Random(seed)
    dirs = [path]
    os.makedirs(path, exist_ok=True)
    for i in range(max(1, files // 15)):
        parent = rng.choice([d for d in dirs if os.path.relpath(d, path).count("/") < depth - 1])
        made = os.path.join(parent, f"dir{i}")
        os.mkdir(made)
        dirs.append(made)
    for i in range(files):
        size = rng.choice((0, 1, 4096, rng.randrange(max_size), rng.randrange(max_size)))
        ext = rng.choice((".txt", ".bin", "", ".tar.gz"))
        with open(os.path.join(rng.choice(dirs), f"file {i:03d}{ext}"), "wb") as f:
            f.write(pattern(size, (seed, i)))
    return path


def read_tree(path):
    """({relative name: bytes}, {relative names of directories}) as bytes names. The bytes of a
    symbolic link are its target, as in its object."""
    path = os.fsencode(path)
    files, dirs = {}, set()
    for top, names, found in os.walk(path, onerror=_fail):
        rel = os.path.relpath(top, path)
        rel = b"" if rel == b"." else rel + b"/"
        links = [n for n in names + found if os.path.islink(os.path.join(top, n))]
        files.update((rel + n, os.readlink(os.path.join(top, n))) for n in links)
        dirs.update(rel + n for n in names if n not in links)
        for name in found:
            if name not in links:
                with open(os.path.join(top, name), "rb") as f:
                    files[rel + name] = f.read()
    return files, dirs


def _fail(error):
    raise error


def difference(expected, got):
    """What differs between two {name: bytes}, in words; "" if nothing."""
    lines = [f"missing: {n!r}" for n in sorted(expected.keys() - got.keys())]
    lines += [f"too many: {n!r}" for n in sorted(got.keys() - expected.keys())]
    for name in sorted(expected.keys() & got.keys()):
        a, b = expected[name], got[name]
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            lines.append(f"{name!r}: {len(a)} bytes expected, {len(b)} found, first difference at "
                         f"{at}: {a[at:at + 16]!r} expected, {b[at:at + 16]!r} found")
    return "\n".join(lines[:20])


def s3_tree(s3, prefix):
    """({name below the prefix: bytes}, {directories that markers or files show})."""
    prefix = prefix.rstrip("/") + "/" if prefix else ""
    files, dirs = {}, set()
    for key in s3.list(prefix):
        name = key[len(prefix):].encode()
        if not name:
            continue
        parts = name.rstrip(b"/").split(b"/")
        for i in range(1, len(parts) + (1 if name.endswith(b"/") else 0)):
            dirs.add(b"/".join(parts[:i]))
        if not name.endswith(b"/"):
            files[name] = s3.get(key)
    return files, dirs


def assert_tree_equal(local_dir, s3, prefix):
    """What is below the prefix of the bucket is exactly what is in the directory: names, bytes,
    and directories, empty ones too."""
    files, dirs = read_tree(local_dir)
    s3_files, s3_dirs = s3_tree(s3, prefix)
    wrong = difference(files, s3_files)
    assert not wrong, f"bucket against {local_dir}:\n{wrong}"
    assert dirs == s3_dirs, f"directories: {sorted(dirs ^ s3_dirs)} differ"


def assert_same_files(dir_a, dir_b):
    """Two directories hold the same names and bytes."""
    files_a, dirs_a = read_tree(dir_a)
    files_b, dirs_b = read_tree(dir_b)
    wrong = difference(files_a, files_b)
    assert not wrong, f"{dir_b} against {dir_a}:\n{wrong}"
    assert dirs_a == dirs_b, f"directories: {sorted(dirs_a ^ dirs_b)} differ"
