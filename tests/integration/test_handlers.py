"""Handlers as if the disk were local: what they do with files beyond what Asya's patched open can, on a mount, in each
variant, as README.md tells it."""

import json
import pathlib
import re
import sys

import pytest

from harness import util
from test_connector import VARIANTS

PROGRAM = pathlib.Path(__file__).parent / "programs/handlers.py"
README = (pathlib.Path(__file__).parents[2] / "README.md").read_text()

# The rows of the table in README.md: what of handlers.py shows each.
ROWS = [["scandir", "walk"], ["rename", "replace", "directories"], ["chmod", "times"], ["read_at", "write_from_start"],
        ["write_at", "update_in_place"], ["append"], ["text_in_pathlib"], ["map_to_read"], ["map_to_write"], ["copy2"],
        ["other_programs"], ["numpy_load"], ["numpy_savez", "csv"], ["numpy_save", "numpy_memmap"],
        ["h5py_read", "parquet_read", "safetensors_read", "sqlite_read"],
        ["h5py_write", "parquet_write", "safetensors_write", "sqlite_write"], ["zip_write"], ["zip_append"]]

# What a stream cannot do is refused, and says why.
REFUSED = re.compile(r"Illegal seek|not seekable|file position|Invalid argument|disk I/O error")


def table():
    """The cells of the rows in README.md."""
    head = "| a handler does | "
    lines = README[README.index(head):].splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines[2:lines.index("") if "" in lines else None]]
    return lines[0].strip("| ").split(" | "), rows


@pytest.mark.parametrize("variant", VARIANTS)
def test_handlers(mount, variant):
    m = mount(variant=variant)
    names = [name for row in ROWS for name in row]
    out = util.run([sys.executable, "-B", PROGRAM, m.path, *names], 60).out
    errors = dict(json.loads(line) for line in out.splitlines())
    head, rows = table()
    assert list(errors) == names and len(rows) == len(ROWS)
    column = head.index(f"`{variant}`")
    for cells, shown in zip(rows, ROWS):
        for name in shown:
            told, error = cells[column], errors[name]
            assert (error is None) == (told == "yes"), (name, told, error)
            assert error is None or REFUSED.search(error), (name, error)
    m.check()
