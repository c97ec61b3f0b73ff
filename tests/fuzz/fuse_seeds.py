#!/usr/bin/env python3
"""Writes the seeds of fuzz_fuse (its comment says what they are):

    fuse_seeds.py FOLDER
"""

import pathlib
import struct
import sys

RAW, OVERLAP, KEEP = 1, 2, 4
O_RDWR, O_CREAT, O_TRUNC, O_APPEND = 2, 0o100, 0o1000, 0o2000
OPS = {
    "LOOKUP": 1, "FORGET": 2, "GETATTR": 3, "SETATTR": 4, "READLINK": 5,
    "SYMLINK": 6, "MKNOD": 8, "MKDIR": 9, "UNLINK": 10, "RMDIR": 11,
    "RENAME": 12, "LINK": 13, "OPEN": 14, "READ": 15, "WRITE": 16,
    "STATFS": 17, "RELEASE": 18, "FSYNC": 20, "SETXATTR": 21, "GETXATTR": 22,
    "LISTXATTR": 23, "REMOVEXATTR": 24, "FLUSH": 25, "INIT": 26,
    "OPENDIR": 27, "READDIR": 28, "RELEASEDIR": 29, "FSYNCDIR": 30,
    "GETLK": 31, "SETLK": 32, "SETLKW": 33, "ACCESS": 34, "CREATE": 35,
    "INTERRUPT": 36, "DESTROY": 38, "IOCTL": 39, "BATCH_FORGET": 42,
    "FALLOCATE": 43, "READDIRPLUS": 44, "RENAME2": 45, "LSEEK": 46,
    "COPY_FILE_RANGE": 47, "TMPFILE": 51, "COPY_FILE_RANGE_64": 53,
}  # fmt: skip


def item(op, args=b"", node=0, id=0, flags=0):
    opcode = OPS.get(op, op)
    return struct.pack("<BBBBH", opcode, node, id, flags, len(args)) + args


def name(text):
    return text.encode() + b"\0"


def lookup(text, node=0):
    return item("LOOKUP", name(text), node)


def open_(node, mode=0, op="OPEN"):
    return item(op, struct.pack("<II", mode, 0), node)


def create(text, mode=O_RDWR | O_CREAT):
    return item("CREATE", struct.pack("<IIII", mode, 0o644, 0o22, 0) + name(text))


def read(op, id, node, off, size):
    return item(op, struct.pack("<QQIIQII", 0, off, size, 0, 0, 0, 0), node, id)


def write(id, node, off, data, flags=0):
    head = struct.pack("<QQIIQII", 0, off, len(data), 0, 0, 0, 0)
    return item("WRITE", head + data, node, id, flags)


def flush(id, node, flags=0):
    return item("FLUSH", struct.pack("<QIIQ", 0, 0, 0, 7), node, id, flags)


def fsync(id, node, op="FSYNC"):
    return item(op, struct.pack("<QII", 0, 0, 0), node, id)


def release(id, node, op="RELEASE"):
    return item(op, struct.pack("<QIIQ", 0, 0, 0, 7), node, id)


def setattr_(node, valid, size=0, mode=0, id=0):
    args = struct.pack("<IIQQQQQQIIIIIIII", valid, 0, 0, size, 0, 0, 0, 0,
                       5, 0, 0, mode, 0, 1, 2, 0)  # fmt: skip
    return item("SETATTR", args, node, id)


def getattr_(node, id=0, flags=0):
    return item("GETATTR", struct.pack("<IIQ", flags, 0, 0), node, id)


def lock(op, id, node, kind, owner, whole=0, flags=0):
    args = struct.pack("<QQQQIIII", 0, owner, 0, 99, kind, 1, whole, 0)
    return item(op, args, node, id, flags)


def rename(old, new, to=0, op="RENAME", flags=0):
    head = struct.pack("<Q", 0) + (struct.pack("<II", flags, 0) if op == "RENAME2" else b"")
    return item(op, head + name(old) + name(new), 0, to)


def raw(opcode, length, unique, nodeid, args=b""):
    head = struct.pack("<IIQQIIII", length, opcode, unique, nodeid, 0, 0, 1, 0)
    return item(0, head + args, 0, 0, RAW)


def faults(every, kind):
    return bytes([every, kind])


NONE = faults(0, 0)
WRITING = [create("fa"), write(1, 1, 0, b"hello"), write(1, 1, 9, b"x" * 100),
           getattr_(1, 1, 1), fsync(1, 1), flush(1, 1), release(1, 1)]  # fmt: skip
READING = [lookup("f"), open_(1), read("READ", 1, 1, 0, 4096),
           read("READ", 1, 1, 3, 1), release(1, 1), lookup("F"), open_(2),
           read("READ", 2, 2, 0, 131072), read("READ", 2, 2, 200000, 131072),
           item("LSEEK", struct.pack("<QQII", 0, 1, 4, 0), 2, 2),
           release(2, 2)]  # fmt: skip
SEEDS = {
    "read": [NONE, *READING],
    "write": [NONE, *WRITING],
    "rewrite": [NONE, lookup("f"), open_(1, O_RDWR | O_TRUNC),
                write(1, 1, 0, b"new"), setattr_(1, 0x48, 100),
                item("FALLOCATE", struct.pack("<QQQII", 0, 0, 200, 0, 0), 1, 1),
                item("FALLOCATE", struct.pack("<QQQII", 0, 1, 5, 3, 0), 1, 1),
                flush(1, 1), open_(1, O_RDWR | O_APPEND),
                write(2, 1, 5, b"more"), read("READ", 2, 1, 0, 4096),
                release(2, 1), release(1, 1)],
    "big_write": [NONE, create("fb"), write(1, 1, 0, b"a" * 8000),
                  write(1, 1, 70000, b"b" * 8000), setattr_(1, 8, 10),
                  flush(1, 1), release(1, 1)],
    "at_once": [NONE, create("fc"), write(1, 1, 0, b"one"),
                flush(1, 1, OVERLAP), write(1, 1, 1, b"two", OVERLAP),
                write(1, 1, 2, b"three"), flush(1, 1), release(1, 1)],
    "listing": [NONE, open_(0, 0, "OPENDIR"), read("READDIRPLUS", 1, 0, 0, 4096),
                read("READDIRPLUS", 1, 0, 6, 4096), read("READDIR", 1, 0, 0, 300),
                read("READDIR", 1, 0, 1, 64), fsync(1, 0, "FSYNCDIR"),
                release(1, 0, "RELEASEDIR"), lookup("d"), lookup("f", 2)],
    "names": [NONE, item("MKDIR", struct.pack("<II", 0o755, 0) + name("dn")),
              item("MKNOD", struct.pack("<IIII", 0o100644, 0, 0, 0) + name("fn")),
              lookup("f"), lookup("d"), rename("f", "fnew"),
              rename("d", "dnew"), lookup("f"), lookup("d"),
              rename("f", "fn", 1, "RENAME2", 1), item("UNLINK", name("f")),
              item("RMDIR", name("dn")), item("RMDIR", name("d")),
              lookup("x"), lookup("x.txt"), lookup("f" * 255),
              lookup("f" * 256), lookup(".."), lookup("a/b")],
    "open_unlinked": [NONE, create("fd"), write(1, 1, 0, b"gone"),
                      item("UNLINK", name("fd")), read("READ", 1, 1, 0, 10),
                      setattr_(1, 8, 2), flush(1, 1), release(1, 1),
                      item("FORGET", struct.pack("<Q", 1), 1)],
    "attributes": [NONE, lookup("f"), setattr_(1, 1, mode=0o600),
                   setattr_(1, 6), setattr_(1, 0x30), setattr_(0, 1),
                   getattr_(0), item("STATFS"),
                   item("ACCESS", struct.pack("<II", 4, 0), 1),
                   item("GETXATTR", struct.pack("<II", 64, 0) + name("user.a"), 1),
                   item("SETXATTR", struct.pack("<II", 1, 0) + name("user.a") + b"v", 1),
                   item("LISTXATTR", struct.pack("<II", 64, 0), 1),
                   item("REMOVEXATTR", name("user.a"), 1)],
    "xattrs": [NONE, create("fa"), write(1, 1, 0, b"x"),
               item("SETXATTR", struct.pack("<II", 900, 0) + name("user.a") + b"v" * 900, 1),
               item("GETXATTR", struct.pack("<II", 0, 0) + name("user.a"), 1),
               item("SETXATTR", struct.pack("<II", 3, 1) + name("user.b") + b"abc", 1),
               item("LISTXATTR", struct.pack("<II", 3, 0), 1), flush(1, 1),
               item("REMOVEXATTR", name("user.b"), 1),
               item("GETXATTR", struct.pack("<II", 64, 0) + name("user.asya.url"), 1),
               item("GETXATTR", struct.pack("<II", 64, 0) + name("security.capability"), 1),
               release(1, 1), lookup("f"),
               item("SETXATTR", struct.pack("<II", 900, 0) + name("user.a") + b"v" * 900, 2),
               item("LISTXATTR", struct.pack("<II", 64, 0), 2)],
    "links": [NONE, item("SYMLINK", name("s") + name("t" * 900)), item("READLINK", b"", 1),
              lookup("s"), item("READLINK", b"", 2), open_(1), getattr_(1), setattr_(1, 6),
              item("UNLINK", name("s"))],
    "refused": [NONE, lookup("f"), item("LINK", struct.pack("<Q", 0) + name("l"), 0, 1),
                item("IOCTL", struct.pack("<QIIQII", 0, 0, 1, 0, 0, 0), 1, 1),
                item("TMPFILE", struct.pack("<IIII", 2, 0, 0, 0) + name("t")),
                item("COPY_FILE_RANGE", bytes(56), 1), item("COPY_FILE_RANGE_64", bytes(56), 1), item("INIT", bytes(64)),
                item(63), item(200), item("DESTROY")],
    "locks": [NONE, lookup("f"), open_(1), open_(1), lock("SETLK", 1, 1, 1, 7),
              lock("GETLK", 2, 1, 1, 8), lock("SETLKW", 2, 1, 1, 8),
              lock("SETLK", 2, 1, 0, 9), item("INTERRUPT", bytes(8), 0, 6),
              lock("SETLKW", 2, 1, 1, 8), lock("SETLK", 1, 1, 2, 7),
              lock("SETLK", 1, 1, 1, 7, 1), lock("SETLK", 2, 1, 1, 8, 1),
              flush(2, 1), release(2, 1), release(1, 1)],
    "forget": [NONE, lookup("f"), lookup("d"),
               item("BATCH_FORGET", struct.pack("<IIQQ", 1, 0, 0, 1), 0, 1),
               item("BATCH_FORGET", struct.pack("<II", 1 << 31, 0)),
               item("FORGET", struct.pack("<Q", 1 << 40), 2), getattr_(1)],
    "raw": [NONE, raw(1, 42, 2, 1, b"f\0"), raw(1, 41, 4, 1, b"f"),
            raw(16, 80, 6, 1, struct.pack("<QQIIQII", 0, 0, 1 << 31, 0, 0, 0, 0)),
            raw(3, 0, 8, 1), raw(3, 39, 10, 1), raw(17, 40, 0, 1),
            raw(17, 1 << 20, 12, 1), item(0, b"\x28", 0, 0, RAW)],
    "faults_500": [faults(2, 1), *WRITING, *READING],
    "faults_412": [faults(3, 4), *WRITING, *WRITING, item("UNLINK", name("f"))],
    "faults_silent": [faults(4, 0), lookup("f"), open_(1), read("READ", 1, 1, 0, 9)],
    "faults_304": [faults(2, 5), *READING],
    "faults_cut": [faults(2, 10), *READING],
}  # fmt: skip

for seed, items in SEEDS.items():
    (pathlib.Path(sys.argv[1]) / seed).write_bytes(b"".join(items))
