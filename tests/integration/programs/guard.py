#!/usr/bin/env python3
"""Cleans up after the test runner, whatever happens to it.

Reads commands from standard input, one JSON object a line:
    {"mount": PATH, "mark": MARK}   a daemon with MARK in its environment is to serve PATH
    {"session": PID, "mark": MARK}  and is the leader of this session
    {"gone": PATH}                  it was stopped and checked
    {"process": PID, "start": N}    a helper process (start time from /proc/PID/stat)
    {"directory": PATH}             to be removed at the end
    {"arm": SECONDS, "name": TEST}  unless disarmed in time, every mount that is known is aborted,
                                    so that a test stuck in one gets an error instead of hanging
    {"disarm": true}                answered by one line: "fired" or "ok"
When standard input ends, what is still known is aborted, unmounted, killed and removed.
"""

import json
import os
import select
import shutil
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from harness import util    # noqa: E402


def abort(mounts, sessions):
    for path, mark in mounts.items():
        entry = util.mount_entry(path)
        if entry and entry[1].startswith("fuse"):
            util.abort_fuse(entry[0])
        for pid in util.marked(mark, sessions.get(mark)):
            util.kill(pid)


def clean(mounts, sessions, processes, directories):
    abort(mounts, sessions)
    for path in mounts:
        util.unmount(path)
    for pid, start in processes.items():
        stat = util.stat_of(pid)
        if stat and stat[2] == start:
            util.kill(pid)
    for path in directories:
        shutil.rmtree(path, ignore_errors=True)


def main():
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, signal.SIG_IGN)      # only the end of standard input ends this
    mounts, sessions, processes, directories = {}, {}, {}, []
    deadline = name = None
    fired = False
    pending = b""
    while True:
        wait = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([0], [], [], wait)[0]:
            sys.stderr.write(f"guard: {name} is stuck, aborting its mounts\n")
            abort(mounts, sessions)
            fired, deadline = True, None
            continue
        data = os.read(0, 65536)
        if not data:
            break
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            if "mount" in command:
                mounts[command["mount"]] = command["mark"]
            elif "session" in command:
                sessions[command["mark"]] = command["session"]
            elif "gone" in command:
                sessions.pop(mounts.pop(command["gone"], None), None)
            elif "process" in command:
                processes[command["process"]] = command["start"]
            elif "directory" in command:
                directories.append(command["directory"])
            elif "arm" in command:
                deadline, name = time.monotonic() + command["arm"], command["name"]
                fired = False
            elif "disarm" in command:
                deadline = None
                print("fired" if fired else "ok", flush=True)
    clean(mounts, sessions, processes, directories)


if __name__ == "__main__":
    main()
