"""Builds and runs locks.c against the libraries that the programs were built with."""

import os
import subprocess

from harness import TOP


def find_build(bin_dir):
    """The build folder that has the libraries, or None."""
    for path in (bin_dir, TOP / "build" / "default"):
        if (path / "shm" / "libshm.a").exists():
            return path
    return None


def measure(bin_dir, scratch):
    """{name: nanoseconds}, empty where the libraries or a compiler are missing."""
    build = find_build(bin_dir)
    if not build:
        return {}
    program = scratch / "locks"
    done = subprocess.run(
        [os.environ.get("CC", "cc"), "-std=gnu11", "-O2", "-D_GNU_SOURCE", "-iquote", TOP,
         "-include", build / "config.h", TOP / "tests" / "bench" / "locks.c",
         build / "shm" / "libshm.a", build / "base" / "libbase.a", "-lsodium", "-lpthread",
         "-o", program], stdin=subprocess.DEVNULL)
    if done.returncode:
        return {}
    out = subprocess.run([program], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True,
                         timeout=120, text=True).stdout
    return {name: float(ns) for name, ns in (x.split("\t") for x in out.splitlines())}
