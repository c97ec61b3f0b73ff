"""The tests find the same whoever starts them: a terminal, a script that goes on meanwhile, nohup, make, a service."""

import sys

import pytest

from harness import PROGRAMS, util

pytestmark = pytest.mark.tool

# Says how this process is to be, then becomes pytest.
START = """
import os, resource, signal, sys
{how}
os.execv(sys.executable, [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:xdist", *sys.argv[1:]])
"""

IGNORED = """
for sig in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(sig, signal.SIG_IGN)
"""

HOSTILE = {
    "like a job of a script": """
for sig in signal.SIGINT, signal.SIGQUIT, signal.SIGHUP:
    signal.signal(sig, signal.SIG_IGN)
""",
    "everything ignored": IGNORED,
    "everything blocked": "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
    "another user's taste": """
os.umask(0o077)
os.environ.update(TZ="Asia/Tokyo", LC_ALL="tr_TR.UTF-8", LANG="tr_TR", LC_TIME="tr_TR", AWS_PROFILE="mine",
                  STATE_BUCKET="mine", https_proxy="http://127.0.0.1:1", http_proxy="http://127.0.0.1:1")
""",
    "low limits": """
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))
""",
    "descriptors left open": """
for fd in 3, 9, 40:
    os.dup2(os.open("/", os.O_RDONLY), fd)
for end in os.pipe():
    os.set_inheritable(end, True)
""",
}


@pytest.mark.parametrize("how", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.repeats
def test_it_does_not_matter_who_starts_the_tests(how):
    done = util.run([sys.executable, "-c", START.format(how=how), PROGRAMS / "surroundings_cases.py"], timeout=50)
    assert " passed" in done.out and "skipped" not in done.out, repr(done)
