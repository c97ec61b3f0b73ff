#!/usr/bin/env python3
"""Copies a tree into a directory and out again with cp, compares with diff, over and over.

    tree_copier.py SOURCE DIR SCRATCH (--rounds N | --until FILE)

Each round copies SOURCE to DIR/tree, compares, copies that to SCRATCH/out, compares, and removes
DIR/tree unless it was the last round. Anything that any of the programs complains about ends it with
exit 1. Prints the number of rounds.
"""

import argparse
import os
import shutil
import subprocess
import sys


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode or done.stdout:
        sys.stderr.write(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}")
        sys.exit(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("source")
    parser.add_argument("dir")
    parser.add_argument("scratch")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--until")
    args = parser.parse_args()
    tree, out = os.path.join(args.dir, "tree"), os.path.join(args.scratch, "out")
    rounds = 0
    while True:
        run("cp", "-r", args.source, tree)
        run("diff", "-r", args.source, tree)
        shutil.rmtree(out, ignore_errors=True)
        run("cp", "-r", tree, out)
        run("diff", "-r", args.source, out)
        rounds += 1
        if rounds >= args.rounds if args.rounds else os.path.exists(args.until):
            break
        run("rm", "-r", tree)
    print(rounds)


if __name__ == "__main__":
    main()
