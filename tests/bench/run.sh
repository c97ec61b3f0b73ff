#!/bin/bash
# Measures a mount against curl on the same objects, and prints a table; needs
# stateproxyd (tools/build.sh), root or fusermount3, and 4 GiB of free memory.
#
#   tests/bench/run.sh [option...]         --help tells the options
#   tests/bench/run.sh --tls [option...]   what HTTPS costs, beside curl with OpenSSL
#   tests/bench/run.sh --connector         the connector API, beside a minimal Python server
#   tests/bench/run.sh --large             large bodies over the connector API in little memory
#   PEERS=/usr/bin/rclone:/usr/bin/s3fs tests/bench/run.sh --peers [--cgroup 64Mi]
#                                          beside other mounts, and within little memory
#
# STATEPROXY_BIN_DIR says where the programs are, as for the tests.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${PYTHON:-.venv/bin/python}
if [ -z "${PYTHON:-}" ]; then
    tools/install-deps.sh venv
fi
STATEPROXY_S3SERVER=${STATEPROXY_S3SERVER:-$(tools/s3server.sh get)}
export STATEPROXY_S3SERVER PYTHONDONTWRITEBYTECODE=1
bench=bench.py
case ${1:-} in
--tls) bench=tls.py && shift ;;
--peers) bench=peers.py && shift ;;
--connector) bench=connector.py && shift ;;
--large)
    bench=large.py && shift
    STATEPROXY_MINIO=${STATEPROXY_MINIO:-$(tools/s3server.sh get minio)}
    export STATEPROXY_MINIO
    ;;
esac
exec "$python" tests/bench/$bench "$@"
