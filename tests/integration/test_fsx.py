"""Random operations on one file that is uploaded and changed in parts (programs/fsx.py): every byte that is read is the
one last written, and so is every byte on S3. STATEPROXY_TEST_FSX=100000 before a release."""

import hashlib
import json
import os
import sys

import pytest

from harness import PROGRAMS, util

OPS = int(os.environ.get("STATEPROXY_TEST_FSX", "250"))
MOST = 18 << 20             # four parts
PARTS = {"STATEPROXY_UPLOAD_MULTIPART_THRESHOLD": "5Mi", "STATEPROXY_UPLOAD_PART_SIZE": "5Mi",
         "STATEPROXY_MEMORY_LIMIT": "64Mi", "STATEPROXY_BUFFER_MEMORY": "1Mi"}
SECONDS = 60 + OPS // 4

pytestmark = [pytest.mark.slow, pytest.mark.limit(SECONDS)]


@pytest.mark.parametrize("variant", ["s3-buffered-lww", "s3-buffered-cas"])
def test_in_parts(mount, bucket, seed, variant):
    m = mount(variant=variant, env=PARTS)
    program = util.spawn([sys.executable, "-B", PROGRAMS / "fsx.py", m.path / "f", "--seed", seed, "--ops", OPS,
                          "--max", MOST])
    told = json.loads(util.finish(program, SECONDS).out)
    content = bucket.get(m.key("f"))
    assert told["ops"] == OPS and len(content) == told["size"]
    assert hashlib.sha256(content).hexdigest() == told["sha256"]
    assert bucket.uploads() == [] and m.errors() == []
    m.check()
