#!/bin/bash
# Runs a file system suite of another project against a mount on a local S3
# server, and says what failed. Needs root, stateproxyd (tools/build.sh), and for
# pjdfstest autoconf, for s3fs a C++ compiler, curl 7.75, setfattr and prove.
#
#   tests/suites/run.sh pjdfstest SOURCE [option...]
#   tests/suites/run.sh s3fs SOURCE --pjdfstest SOURCE [option...]
#
# SOURCE is a folder with that project's sources, or what git can clone
# (pjdfstest: github.com/pjd/pjdfstest, s3fs: github.com/s3fs-fuse/s3fs-fuse).
# It is copied into a temporary folder and built there. --help tells the options.
#
# STATEPROXY_BIN_DIR says where the programs are, as for the tests. Not part of
# CI; docs/SUITES.md has what came out, and why.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${PYTHON:-.venv/bin/python}
if [ -z "${PYTHON:-}" ]; then
    tools/install-deps.sh venv
fi
export PYTHONDONTWRITEBYTECODE=1
exec "$python" tests/suites/suites.py "$@"
