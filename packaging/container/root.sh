#!/bin/bash
# Fills the root file system of the images: the Dockerfile and tools/container-root.sh
# both run this.
#
#   packaging/container/root.sh BUILD DIR
#
# DIR/programs gets stateproxyd and stateproxyctl, DIR/base all that they need: the
# C library and the other shared libraries, CA certificates, a user, folders. The
# C library is glibc, as in distroless images: its resolver and its name services are
# what the tests of this project run with. No shell, no package manager.
set -euo pipefail

[ $# -eq 2 ] || {
    echo "usage: root.sh BUILD DIR" >&2
    exit 64
}
build=$1 base=$2/base programs=$2/programs
user=65532

install -d "$programs/usr/sbin" "$programs/usr/bin" "$base/etc/ssl/certs" "$base/proc" "$base/dev" "$base/sys"
install -m 755 "$build/stateproxyd" "$programs/usr/sbin"
install -m 755 "$build/stateproxyctl" "$programs/usr/bin"
strip --strip-unneeded "$programs/usr/sbin/stateproxyd" "$programs/usr/bin/stateproxyctl"

# What the loader finds, at the same paths; libnss_* and libresolv are opened at run time.
{
    ldd "$programs/usr/sbin/stateproxyd" "$programs/usr/bin/stateproxyctl" |
        awk '$2 == "=>" { print $3 } $1 ~ /^\// && $2 ~ /^\(/ { print $1 }'
    ls /lib/*-linux-gnu/libnss_{files,dns}.so.2 /lib/*-linux-gnu/libresolv.so.2
} | sort -u | while IFS= read -r lib; do
    install -D -m 755 "$(readlink -f "$lib")" "$base$lib"
done

install -m 644 /etc/ssl/certs/ca-certificates.crt "$base/etc/ssl/certs/ca-certificates.crt"
echo 'hosts: files dns' >"$base/etc/nsswitch.conf"
printf '%s\n' 'root:x:0:0:root:/:/sbin/nologin' "nonroot:x:$user:$user:nonroot:/:/sbin/nologin" >"$base/etc/passwd"
printf '%s\n' 'root:x:0:' "nonroot:x:$user:" >"$base/etc/group"
install -d -m 1777 "$base/tmp" "$base/var/tmp"
install -d "$base/run" "$base/mnt"
install -d -m 777 "$base/var/run/asya/state" # the runtime beside it may have another user
