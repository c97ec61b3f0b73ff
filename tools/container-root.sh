#!/bin/bash
# Makes the root file system of the container image without a container engine, by
# the same steps as packaging/container/Dockerfile, and checks that the layer of the
# programs has at most 10 MiB. Prints the folder, build/container/root.
#
#   tools/container-root.sh [BUILD]      default: build/default, which is built
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/lib.sh
. tools/lib.sh

LIMIT_KIB=10240
build=${1:-build/default}
[ $# -gt 0 ] || tools/build.sh
[ -x "$build/stateproxyd" ] || die "$build has no stateproxyd"

out=$PWD/build/container
rm -rf --one-file-system "$out"
mkdir -p "$out"
packaging/container/root.sh "$build" "$out"
size=$(du -sk --apparent-size "$out/programs" | cut -f1)
[ "$size" -le $LIMIT_KIB ] || die "the programs have $size KiB, more than $LIMIT_KIB"
say "programs $size KiB, libraries and certificates $(du -sk --apparent-size "$out/base" | cut -f1) KiB"
mkdir "$out/root"
cp -a "$out/base/." "$out/root/"
cp -a "$out/programs/." "$out/root/"
echo "$out/root"
