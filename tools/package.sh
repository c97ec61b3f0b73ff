#!/bin/bash
# Makes system packages of this tree: a Debian package for the Debian that this runs
# on (12), and from the same installed files an RPM.
#
#   tools/package.sh [-b BUILD] [-v VERSION] [deb] [rpm]      default: deb
#
#   -b BUILD     package what is built in that folder, such as build/gcc; otherwise
#                build/package is built, with Debian's flags for hardening
#   -v VERSION   another version than that of configure.ac, for tests of upgrades
#
# The packages are put into build/packages, their names on standard output. The
# programs link libcurl, mbedTLS and ISA-L statically (tools/deps.sh); everything
# else becomes a dependency, by dpkg-shlibdeps and by rpm.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/lib.sh
. tools/lib.sh

build='' version=$(sed -n 's/^AC_INIT(\[stateproxy\], \[\(.*\)\])$/\1/p' configure.ac) kinds=()
while getopts b:v: opt; do
    case $opt in
    b) build=$OPTARG ;;
    v) version=$OPTARG ;;
    *) die "usage: tools/package.sh [-b BUILD] [-v VERSION] [deb] [rpm]" ;;
    esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- deb
for kind in "$@"; do
    case $kind in
    deb | rpm) kinds+=("$kind") ;;
    *) die "unknown kind of package '$kind': deb or rpm" ;;
    esac
done
[ -n "$version" ] || die "configure.ac has no version"

OUT=$PWD/build/packages
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The time of what is packaged: the same tree gives the same package.
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y configure.ac)
fi
export SOURCE_DATE_EPOCH

build_programs() {
    [ -z "$build" ] || return 0
    build=build/package
    tools/install-deps.sh build
    tools/deps.sh
    local flags
    flags=$(DEB_BUILD_MAINT_OPTIONS=hardening=+all dpkg-buildflags --get CFLAGS)
    configure_in $build --prefix=/usr --sysconfdir=/etc --localstatedir=/var CFLAGS="$flags" \
        CPPFLAGS="$(DEB_BUILD_MAINT_OPTIONS=hardening=+all dpkg-buildflags --get CPPFLAGS)" \
        LDFLAGS="$(DEB_BUILD_MAINT_OPTIONS=hardening=+all dpkg-buildflags --get LDFLAGS)"
    make -C $build --no-print-directory -s -j "$(nproc)" >&2
}

# stage DIR: the files that every package installs.
stage() {
    local dir=$1 name
    # (paths that are filled in at installation: packaging/Makemodule.am)
    make -C "$build" --no-print-directory -s install DESTDIR="$dir" prefix=/usr sysconfdir=/etc \
        localstatedir=/var >"$work/install.log" 2>&1 || {
        tail -n 20 "$work/install.log" >&2
        die "make install failed"
    }
    for name in sbin/stateproxyd sbin/mount.stateproxy bin/stateproxyctl; do
        strip --strip-unneeded --remove-section=.comment "$dir/usr/$name"
    done
    install -d -m 755 "$dir/etc/stateproxy" "$dir/etc/default"
    install -m 644 etc/stateproxy.yaml "$dir/etc/stateproxy/sample.yaml"
    install -m 644 packaging/default "$dir/etc/default/stateproxy"
    rm "$dir/usr/share/doc/stateproxy/stateproxy.yaml" # the same
    find "$dir/usr/share/man" -type f -exec gzip -9n {} +
}

# ---- Debian

debian_docs() {
    local doc=$1/usr/share/doc/stateproxy
    rm "$doc/LICENSE" # in /usr/share/common-licenses
    install -m 644 packaging/debian/copyright "$doc/copyright"
    install -m 644 packaging/debian/README.Debian "$doc/README.Debian"
    mv "$doc/CHANGELOG.md" "$doc/changelog"
    {
        echo "stateproxy ($full) unstable; urgency=medium"
        echo
        echo "  * Version $version: see the file changelog beside this one."
        echo
        echo " -- stateproxy developers <stateproxy@localhost>  $(date -u -R -d "@$SOURCE_DATE_EPOCH")"
    } >"$doc/changelog.Debian"
    gzip -9n "$doc/changelog" "$doc/changelog.Debian"
    install -D -m 644 packaging/debian/lintian-overrides "$1/usr/share/lintian/overrides/stateproxy"
}

# control FILE: what dpkg-shlibdeps finds is filled in.
control() {
    local depends
    mkdir -p "$work/shlibs/debian"
    cp packaging/debian/control.in "$work/shlibs/debian/control"
    depends=$(cd "$work/shlibs" && dpkg-shlibdeps -O -xstateproxy "$work/deb/usr/sbin/stateproxyd" \
        "$work/deb/usr/sbin/mount.stateproxy" "$work/deb/usr/bin/stateproxyctl" |
        sed -n 's/^shlibs:Depends=//p')
    [ -n "$depends" ] || die "dpkg-shlibdeps found no libraries"
    # the second paragraph, with what only a binary package has
    sed -n '/^Package:/,$p' packaging/debian/control.in |
        sed -e "s/\${shlibs:Depends}/$depends/" -e "s/^Architecture: .*/Architecture: $arch/" \
            -e "/^Architecture:/i Version: $full" \
            -e "/^Architecture:/i Source: stateproxy" \
            -e "/^Architecture:/a Section: admin\nPriority: optional" \
            -e "/^Architecture:/a Maintainer: stateproxy developers <stateproxy@localhost>" \
            -e "/^Architecture:/a Installed-Size: $(du -sk --apparent-size "$work/deb" | cut -f1)" |
        sed '/^Source: stateproxy$/d' >"$1"
}

make_deb() {
    local full=$version-1 arch dir=$work/deb file
    command -v dpkg-shlibdeps >/dev/null || die "dpkg-shlibdeps is missing: tools/install-deps.sh build"
    arch=$(dpkg --print-architecture)
    file=$OUT/stateproxy_${full}_$arch.deb
    cp -a "$work/stage" "$dir"
    debian_docs "$dir"
    mkdir "$dir/DEBIAN"
    control "$dir/DEBIAN/control"
    (cd "$dir" && find etc -type f | sort | sed 's|^|/|') >"$dir/DEBIAN/conffiles"
    install -m 755 packaging/debian/{postinst,prerm,postrm} "$dir/DEBIAN/"
    (cd "$dir" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$dir/DEBIAN/md5sums"
    dpkg-deb --root-owner-group -Zxz --build "$dir" "$file" >&2
    echo "$file"
}

# ---- RPM

make_rpm() {
    command -v rpmbuild >/dev/null || die "rpmbuild is missing: tools/install-deps.sh package"
    rpmbuild -bb --quiet --define "_topdir $work/rpm" --define "_rpmdir $OUT" \
        --define "_dbpath $work/rpmdb" \
        --define "sp_version $version" --define "sp_stage $work/stage" \
        --define "_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm" \
        packaging/rpm/stateproxy.spec >"$work/rpm.log" 2>&1 || {
        tail -n 30 "$work/rpm.log" >&2
        die "rpmbuild failed"
    }
    ls "$OUT/stateproxy-$version-1".*.rpm
}

build_programs
umask 022
stage "$work/stage"
mkdir -p "$OUT"
for kind in "${kinds[@]}"; do
    "make_$kind"
done
