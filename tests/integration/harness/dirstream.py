"""A directory read with readdir(3), so that telldir, seekdir and rewinddir can be tried."""

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)
_libc.opendir.restype = _libc.readdir.restype = ctypes.c_void_p
_libc.telldir.restype = ctypes.c_long
for _name in ("telldir", "readdir", "closedir", "rewinddir"):
    getattr(_libc, _name).argtypes = [ctypes.c_void_p]
_libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
_TYPE, _NAME = 18, 19           # offsets in struct dirent
DT_DIR = 4


class DirStream:
    def __init__(self, path):
        self.stream = _libc.opendir(os.fsencode(path))
        if not self.stream:
            raise OSError(ctypes.get_errno(), "opendir", str(path))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        _libc.closedir(self.stream)

    def tell(self):
        return _libc.telldir(self.stream)

    def seek(self, place):
        _libc.seekdir(self.stream, place)

    def rewind(self):
        _libc.rewinddir(self.stream)

    def entry(self):
        """(name, is it a directory), None at the end."""
        ctypes.set_errno(0)
        at = _libc.readdir(self.stream)
        if not at:
            if ctypes.get_errno():
                raise OSError(ctypes.get_errno(), "readdir")
            return None
        return os.fsdecode(ctypes.string_at(at + _NAME)), ctypes.string_at(at + _TYPE, 1)[0] == DT_DIR

    def __iter__(self):
        """What is left, without "." and ".."."""
        while (entry := self.entry()) is not None:
            if entry[0] not in (".", ".."):
                yield entry
