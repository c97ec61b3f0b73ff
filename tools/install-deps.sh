#!/bin/bash
# Installs the Debian packages that building (`build`) or testing (`test`)
# needs, and makes the Python environment of the tests (`venv`). What is there
# already is left alone, so that a second run takes no time.
#
#   tools/install-deps.sh [build] [test] [venv] [promtool]     default: build
#
# For tools/test.sh packages there is `package`, for tools/test.sh tidy `tidy`, for
# tools/test-servers.sh `java` and `ceph`.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/lib.sh
. tools/lib.sh

BUILD=(gcc libc6-dev make autoconf automake pkg-config
    libxml2-dev libyaml-dev libsodium-dev nettle-dev libgcrypt20-dev libjansson-dev libcmocka-dev
    cmake ninja-build nasm dpkg-dev patch xz-utils ca-certificates
    python3 python3-venv curl fuse3 util-linux)
TEST=(clang clang-format llvm libclang-rt-dev fio sqlite3 git rsync patch attr strace procps psmisc vim-tiny
    logrotate groff-base unzip restic borgbackup)
TIDY=(clang-tidy)
PACKAGE=(rpm lintian mmdebstrap)
JAVA=(openjdk-17-jre-headless maven)
CEPH=(radosgw ceph-mon ceph-osd)

# Ceph's packages start services of their own, unless something says no.
install_ceph() {
    local rule=/usr/sbin/policy-rc.d
    if [ ! -e "$rule" ]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$rule"
        chmod 755 "$rule"
    fi
    apt_need "${CEPH[@]}"
}

# Only the checker of Prometheus' package: the package itself starts a service.
install_promtool() {
    local dir
    [ -x .venv/bin/promtool ] || [ -n "$(command -v promtool)" ] && return 0
    say "getting promtool"
    dir=$(mktemp -d)
    chmod 1777 "$dir" # apt downloads as a user of its own
    (cd "$dir" && apt-get download --quiet prometheus >&2 && dpkg-deb -x prometheus_*.deb out) ||
        die "apt-get cannot get the package prometheus"
    mkdir -p .venv/bin
    install -m 755 "$dir/out/usr/bin/promtool" .venv/bin/promtool
    rm -rf "$dir"
}

# .venv is made anew when tests/requirements.txt or the interpreter changes.
make_venv() {
    local want
    want=$(python3 -V; sha256sum <tests/requirements.txt)
    if [ "$(cat .venv/stamp 2>/dev/null)" = "$want" ]; then
        return 0
    fi
    say "making .venv from tests/requirements.txt"
    rm -rf .venv
    python3 -m venv .venv
    .venv/bin/pip install --quiet --disable-pip-version-check \
        -r tests/requirements.txt >&2 || die "pip could not install them"
    printf '%s\n' "$want" >.venv/stamp
}

# Helm's own engine, as a Python module: it renders packaging/kubernetes/chart. Its library is in the
# package three times, 85 MB each.
install_helm() {
    local version=0.2.2 lib
    .venv/bin/python -c "import importlib.metadata as m; assert m.version('helm-python-sdk') == '$version'" \
        2>/dev/null && return 0
    say "getting Helm's engine"
    .venv/bin/pip install --quiet --disable-pip-version-check "helm-python-sdk==$version" >&2 ||
        die "pip could not install helm-python-sdk"
    lib=$(echo .venv/lib/python3*/site-packages/helm_python/lib)
    ln -sf "libhelm_c.so.$version" "$lib/libhelm_c.so.0"
    ln -sf "libhelm_c.so.$version" "$lib/libhelm_c.so"
}

[ $# -gt 0 ] || set -- build
for set in "$@"; do
    case $set in
    build) apt_need "${BUILD[@]}" ;;
    test) apt_need "${TEST[@]}" ;;
    venv) make_venv ;;
    promtool) install_promtool ;;
    package) apt_need "${PACKAGE[@]}"; make_venv; install_helm ;;
    tidy) apt_need "${TIDY[@]}" ;;
    java) apt_need "${JAVA[@]}" ;;
    ceph) [ -z "$(apt_missing "${CEPH[@]}")" ] || install_ceph ;;
    *) die "unknown set '$set': build, test, venv, promtool, package, tidy, java or ceph" ;;
    esac
done
