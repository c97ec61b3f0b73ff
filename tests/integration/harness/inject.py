"""System calls made by another process, as if code in it had been taken over: ptrace from outside, x86-64."""

import ctypes
import os
import platform
import signal

AVAILABLE = platform.machine() == "x86_64"

ATTACH, DETACH, GETREGS, SETREGS, CONT = 16, 17, 12, 13, 7
SYSCALL = b"\x0f\x05\xcc"       # syscall; int3
RED_ZONE = 8192                 # below the stack pointer: nobody's

NAMES = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base "
         "ds es fs gs").split()
NUMBERS = {"read": 0, "open": 2, "connect": 42, "socket": 41, "fork": 57, "execve": 59, "kill": 62, "ptrace": 101,
           "setuid": 105, "openat": 257, "process_vm_readv": 310, "io_uring_setup": 425}

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class Regs(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in NAMES]


def ptrace(request, pid, addr=None, data=None):
    if libc.ptrace(request, pid, addr, data) == -1:
        raise OSError(ctypes.get_errno(), f"ptrace {request} of {pid}")


class Memory:
    """Of a process that is traced, and stands still."""

    def __init__(self, pid):
        self.file = open(f"/proc/{pid}/mem", "r+b", buffering=0)

    def peek(self, at, n):
        self.file.seek(at)
        return self.file.read(n)

    def poke(self, at, data):
        self.file.seek(at)
        self.file.write(data)

    def close(self):
        self.file.close()


class Injected:
    """with Injected(pid) as p: p.call("open", b"/etc/shadow", 0) -> the result, -errno when it fails.

    The process goes on afterwards as if nothing had been."""

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        ptrace(ATTACH, self.pid)
        self._wait(signal.SIGSTOP)
        self.regs = Regs()
        ptrace(GETREGS, self.pid, None, ctypes.addressof(self.regs))
        self.memory = Memory(self.pid)
        self.code = self.memory.peek(self.regs.rip, len(SYSCALL))
        return self

    def __exit__(self, *exc):
        self.memory.poke(self.regs.rip, self.code)
        ptrace(SETREGS, self.pid, None, ctypes.addressof(self.regs))
        self.memory.close()
        ptrace(DETACH, self.pid)

    def _wait(self, sig):
        """Until it stops with this signal; others are delivered."""
        while True:
            _, status = os.waitpid(self.pid, 0)
            if not os.WIFSTOPPED(status):
                raise AssertionError(f"{self.pid} ended: {status:#x}")
            if os.WSTOPSIG(status) == sig:
                return
            ptrace(CONT, self.pid, None, os.WSTOPSIG(status))

    def call(self, name, *args):
        """Bytes are put into its memory, and their address is passed."""
        at, values = self.regs.rsp - RED_ZONE, []
        for arg in args:
            if isinstance(arg, bytes):
                self.memory.poke(at, arg + b"\0")
                values.append(at)
                at += (len(arg) + 64) & ~15
            else:
                values.append(arg & (1 << 64) - 1)
        regs = Regs.from_buffer_copy(self.regs)
        regs.rsp -= 2 * RED_ZONE
        regs.rax, regs.orig_rax = NUMBERS[name], (1 << 64) - 1     # not a call to be restarted
        for register, value in zip(("rdi", "rsi", "rdx", "r10", "r8", "r9"), values):
            setattr(regs, register, value)
        self.memory.poke(regs.rip, SYSCALL)
        ptrace(SETREGS, self.pid, None, ctypes.addressof(regs))
        ptrace(CONT, self.pid)
        self._wait(signal.SIGTRAP)
        ptrace(GETREGS, self.pid, None, ctypes.addressof(regs))
        return ctypes.c_longlong(regs.rax).value
