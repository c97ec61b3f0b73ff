#!/bin/bash
# From a clean clone to stateproxyd and stateproxyctl at the top of the tree:
# packages, mbedTLS and libcurl, configure, make. Seconds when nothing changed.
# Objects are in build/default, so that the tree stays clean.
#
#   tools/build.sh [configure option...]
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/lib.sh
. tools/lib.sh

tools/install-deps.sh build
case " $*" in
*' --with-system-curl'* | *' --with-deps='*) ;;
*) tools/deps.sh ;;
esac
configure_in build/default "$@"
make -C build/default --no-print-directory -s -j "$(nproc)"
for program in stateproxyd stateproxyctl; do
    # (install puts a new file in place: one that runs is not disturbed)
    cmp -s "build/default/$program" "$program" ||
        install -m 755 "build/default/$program" "$program"
done
say "./stateproxyd and ./stateproxyctl are ready"
