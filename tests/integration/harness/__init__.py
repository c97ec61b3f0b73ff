"""What the integration tests share: the S3 server, the proxy, mounts, and clean-up that also works
when a test, or the test runner itself, dies. See the modules; conftest.py makes fixtures of them.
"""

import os
import pathlib
import sys

TOP = pathlib.Path(__file__).resolve().parents[3]
TESTS = TOP / "tests"
PROGRAMS = TESTS / "integration" / "programs"
BIN_DIR = pathlib.Path(os.environ.get("STATEPROXY_BIN_DIR", TOP))
DAEMON = BIN_DIR / "stateproxyd"
CTL = BIN_DIR / "stateproxyctl"

sys.path.insert(0, str(TESTS / "tools"))     # the proxy and the signer

ACCESS, SECRET, REGION = "testaccess", "testsecret0123456789", "us-east-1"

# A build with sanitizers, or a slow machine, is given more time by this factor.
SLOW = float(os.environ.get("STATEPROXY_TEST_SLOW", "1"))

# Exit codes of stateproxyd: daemon/exit_code.h.
EX_UNPUBLISHED, EX_USAGE, EX_S3, EX_SYSTEM, EX_CREATE, EX_CONFIG = 1, 64, 69, 71, 73, 78
EX_ABORTED = 75
