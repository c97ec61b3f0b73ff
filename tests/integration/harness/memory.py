"""What a process has in its memory, without giving it more: only pages that are there are read. (To read one of
shared memory that is not would make it, and count it in the process's cgroup.)"""

import os
import re
import struct

PAGE = os.sysconf("SC_PAGE_SIZE")
PRESENT_OR_SWAPPED = 3 << 62


def _there(pagemap, start, end):
    """The ranges of pages that this process has, from /proc/PID/pagemap."""
    at = None
    for first in range(start, end, PAGE << 12):
        count = min(1 << 12, (end - first) // PAGE)
        for i, (entry,) in enumerate(struct.iter_unpack("Q", os.pread(pagemap, 8 * count, first // PAGE * 8))):
            here = first + i * PAGE
            if entry & PRESENT_OR_SWAPPED:
                at = here if at is None else at
            elif at is not None:
                yield at, here
                at = None
    if at is not None:
        yield at, end


def _data(fd, start, end):
    """What a file has between these two, without its holes."""
    while start < end:
        try:
            start = os.lseek(fd, start, os.SEEK_DATA)
        except OSError:
            return
        stop = min(os.lseek(fd, start, os.SEEK_HOLE), end)
        if stop > start:
            yield os.pread(fd, stop - start, start)
        start = stop


def _shared(pid, span, offset, size):
    """Also what others have put into memory that is shared with them."""
    try:
        fd = os.open(f"/proc/{pid}/map_files/{span}", os.O_RDONLY)
    except OSError:                 # a device
        return
    try:
        yield from _data(fd, offset, offset + size)
    finally:
        os.close(fd)


def memory_of(pid):
    """(line of /proc/PID/maps, bytes) of all that can be read."""
    with open(f"/proc/{pid}/maps") as f:
        lines = f.read().splitlines()
    mem, pagemap = (os.open(f"/proc/{pid}/{name}", os.O_RDONLY) for name in ("mem", "pagemap"))
    try:
        for line in lines:
            start, end, rights, offset = re.match(r"(\w+)-(\w+) (\S+) (\w+) ", line).groups()
            span, start, end = f"{start}-{end}", int(start, 16), int(end, 16)
            if rights[0] != "r" or "[v" in line or end - start > 1 << 30:   # (what a sanitizer has reserved)
                continue
            try:
                for at, stop in _there(pagemap, start, end):
                    yield line, os.pread(mem, stop - at, at)
            except OSError:
                pass                # a guard page
            if rights[3] == "s":
                for data in _shared(pid, span, int(offset, 16), end - start):
                    yield line, data
    finally:
        os.close(mem)
        os.close(pagemap)
