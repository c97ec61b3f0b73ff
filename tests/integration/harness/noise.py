"""The test's end of programs/noise.py: somebody else on a mount, all the time."""

import json
import os
import subprocess
import sys

from . import PROGRAMS, SLOW, util

END_SECONDS = 40


class Noise:
    """strict, writers, own: see programs/noise.py."""

    def __init__(self, mount, seed, strict=False, writers=False, own=None):
        self.mount = mount
        command = [sys.executable, "-B", PROGRAMS / "noise.py", mount.path, "--seed", seed,
                   "--s3", mount.server or mount.env["AWS_ENDPOINT_URL"], mount.bucket,
                   mount.prefix]
        command += [f"--{name}" for name, on in (("strict", strict), ("writers", writers)) if on]
        command += ["--own", mount.path / own] if own else []
        self.process = subprocess.Popen([str(a) for a in command], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=util.clean_env(), start_new_session=True)
        mount.guard.watch_process(self.process.pid)

    def stop(self):
        """Everything of it has ended when this returns. What it found wrong fails the test."""
        if not self.process:
            return {}
        process, self.process = self.process, None
        try:
            out, err = process.communicate(timeout=END_SECONDS * SLOW)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            out, err = process.communicate()
            raise AssertionError(f"the noise does not end\n{err.decode(errors='replace')}") from None
        assert process.returncode == 0, f"the noise failed:\n{err.decode(errors='replace')}"
        found = json.loads(out)
        assert not found["problems"], "the noise got what nobody may get:\n" + \
            "\n".join(found["problems"])
        return found["counts"]
