"""For a child: its parent, a shell perhaps, waits for it. (The daemon looks whether it does.)"""

import os

WAIT4 = {"x86_64": "61", "aarch64": "260"}[os.uname().machine]


def until_waited_for():
    while open(f"/proc/{os.getppid()}/syscall").read().split()[0] != WAIT4:
        pass
