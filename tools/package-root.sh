#!/bin/bash
# Makes the root file system of a Debian 12 in which tests/packaging installs the
# package: what is essential, what the package depends on, systemd. Kept in
# build/packages/root until the list of packages changes. As root.
#
#   tools/package-root.sh PACKAGE.deb     prints the folder
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/lib.sh
. tools/lib.sh

SUITE=bookworm
root=$PWD/build/packages/root
[ $# -eq 1 ] && [ -f "$1" ] || die "usage: tools/package-root.sh PACKAGE.deb"

# Names only: "libc6 (>= 2.34), mount" -> "libc6,mount".
depends=$(dpkg-deb -f "$1" Depends | sed -e 's/ *([^)]*)//g' -e 's/ //g')
# (procps: to look at processes; dbus: systemctl talks to systemd through it; apt: what the README says)
include=systemd,systemd-sysv,dbus,procps,apt,$depends
want="$SUITE $include"
if [ "$(cat "$root.made" 2>/dev/null)" = "$want" ]; then
    echo "$root"
    exit 0
fi
command -v mmdebstrap >/dev/null || die "mmdebstrap is missing: tools/install-deps.sh package"

# The archive, as apt here knows it, be it a mirror or a cache.
# shellcheck disable=SC2016 # apt fills these in, not the shell
archive=$(apt-get indextargets --no-release-info --format '$(RELEASE) $(REPO_URI)' \
    'Created-By: Packages' | awk -v c="$SUITE" '$1 == c || $1 == "stable" { print $2; exit }')
[ -n "$archive" ] || die "apt here has no archive of Debian $SUITE"

say "making a root of Debian $SUITE (about a minute)"
rm -rf --one-file-system "$root" "$root.made"
mkdir -p "${root%/*}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
mmdebstrap --variant=essential --include="$include" \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/man/*/*' \
    --aptopt='Acquire::Retries "3"' "$SUITE" "$root" "$archive" >"$log" 2>&1 || {
    tail -n 30 "$log" >&2
    die "mmdebstrap failed"
}
printf '%s\n' "$want" >"$root.made"
echo "$root"
