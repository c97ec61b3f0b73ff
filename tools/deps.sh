#!/bin/bash
# Builds the private static mbedTLS, libcurl and ISA-L that stateproxyd links,
# from Debian's source packages, into .deps/ at the top of the tree.
#
# Debian's own binaries do not do: libcurl comes with OpenSSL or GnuTLS, and the
# mbedTLS of Debian 12 (2.28) has no TLS 1.3 and no IP address certificates.
# The newest versions of a suite are taken, not pinned ones, which vanish from
# the archive; "at least" is checked. apt works in a private root: nothing of
# the system's own sources is changed, and root is not needed.
#
# Its AES-GCM and ChaCha20-Poly1305, portable code that is 10 times slower than
# OpenSSL's, are replaced by libgcrypt's through the hooks that it has for this
# (tools/mbedtls/).
#
# CRC64NVME and CRC32C at memory speed are ISA-L's, of which only the folder of
# checksums is built; Debian 12 has a version without CRC64NVME.
#
# The result is kept until this script, tools/mbedtls/ or tools/curl/ changes.
# --force: build all the same.
#   STATEPROXY_DEPS_SUITE      Debian suite with the sources (forky)
#   STATEPROXY_DEBIAN_MIRROR   archive, if not the one that apt here uses
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/lib.sh
. tools/lib.sh

DEPS=$PWD/.deps
SUITE=${STATEPROXY_DEPS_SUITE:-forky}
# 3.6.6 refuses RSA-PSS in TLS 1.2; curl before 8.21 lacks fixes of security
# holes, as configure.ac says of the machine's.
MBEDTLS_MIN=3.6.7
CURL_MIN=8.21.0
ISAL_MIN=2.31.0

want=$(cat tools/deps.sh tools/mbedtls/*.[ch] tools/curl/*.patch | sha256sum)
[ "${1:-}" != --force ] || rm -f "$DEPS/stamp"

# One builder at a time; the others wait and then find it done.
exec 9>.deps.lock
flock 9
if [ "$(cat "$DEPS/stamp" 2>/dev/null)" = "$want" ]; then
    exit 0
fi
start=$SECONDS
tools="apt-get dpkg-source cmake ninja patch python3 cc make"
[ "$(uname -m)" != x86_64 ] || tools="$tools nasm"
for tool in $tools; do
    command -v "$tool" >/dev/null ||
        die "$tool is missing: run tools/install-deps.sh build"
done
echo '#include <gcrypt.h>' | cc -E -o /dev/null - 2>/dev/null ||
    die "gcrypt.h is missing: run tools/install-deps.sh build"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The address of the archive as apt knows it, be it a mirror or a cache.
archive() {
    if [ -n "${STATEPROXY_DEBIAN_MIRROR:-}" ]; then
        echo "$STATEPROXY_DEBIAN_MIRROR"
        return
    fi
    local codename
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
    # shellcheck disable=SC2016 # apt fills these in, not the shell
    apt-get indextargets --no-release-info \
        --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
        awk -v c="$codename" '$1 == c || $1 == "stable" { print $2; exit }'
}

# apt-get in a root of its own that knows only the sources of $SUITE.
private_apt() {
    local cmd=$1
    shift
    "$cmd" -qq \
        -o Dir::Etc::sourcelist=/dev/null \
        -o Dir::Etc::sourceparts="$work/apt/sources" \
        -o Dir::State="$work/apt/state" \
        -o Dir::State::status=/var/lib/dpkg/status \
        -o Dir::Cache="$work/apt/cache" \
        -o Acquire::Languages=none -o Acquire::Retries=3 \
        -o APT::Sandbox::User=root -o APT::Update::Error-Mode=any "$@"
}

apt_setup() {
    local uri
    uri=$(archive)
    [ -n "$uri" ] ||
        die "apt here has no Debian archive: set STATEPROXY_DEBIAN_MIRROR"
    mkdir -p "$work"/apt/{sources,state/lists/partial,cache/archives/partial}
    cat >"$work/apt/sources/deps.sources" <<-END
	Types: deb-src
	URIs: $uri
	Suites: $SUITE
	Components: main
	Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
	END
    private_apt apt-get update ||
        die "cannot read the source list of suite $SUITE from $uri"
}

# fetch NAME MINIMUM: unpacks the newest NAME of the suite in $work/NAME.
# Debian's patches stay out: those of curl rename the library.
fetch() {
    local name=$1 min=$2 version
    version=$(private_apt apt-cache showsrc --only-source "$name" |
        sed -n 's/^Version: //p' | sort -V | tail -n 1)
    [ -n "$version" ] || die "suite $SUITE has no source package $name"
    dpkg --compare-versions "$version" ge "$min" ||
        die "$name $version of suite $SUITE is too old: $min or newer is" \
            "needed (another suite: STATEPROXY_DEPS_SUITE)"
    say "$name $version"
    mkdir "$work/dl.$name"
    (cd "$work/dl.$name" &&
        private_apt apt-get source --download-only --only-source \
            "$name=$version" >/dev/null) ||
        die "cannot fetch the source of $name $version"
    dpkg-source --no-check --skip-patches -x "$work/dl.$name"/*.dsc \
        "$work/$name" >/dev/null
}

# fetch_original NAME MINIMUM: as fetch, but only the tarball of its authors,
# checked against the signed list: what Debian adds is not needed, and may be
# newer than the mirror.
fetch_original() {
    local name=$1 min=$2 version file sum dir uri
    uri=$(archive)
    read -r version sum file dir < <(private_apt apt-cache showsrc \
        --only-source "$name" | awk '
            /^Version:/ { version = $2 }
            /^Directory:/ { dir = $2 }
            /^[A-Za-z]/ { sums = /^Checksums-Sha256:/ }
            sums && $3 ~ /\.orig\.tar\.[a-z0-9]+$/ { sum = $1; file = $3 }
            /^$/ && file { print version, sum, file, dir }
            END { print version, sum, file, dir }' | sort -V | tail -n 1)
    [ -n "$dir" ] || die "suite $SUITE has no source package $name"
    dpkg --compare-versions "$version" ge "$min" ||
        die "$name $version of suite $SUITE is too old: $min or newer is" \
            "needed (another suite: STATEPROXY_DEPS_SUITE)"
    say "$name $version"
    private_apt /usr/lib/apt/apt-helper download-file \
        "${uri%/}/$dir/$file" "$work/$file" "SHA256:$sum" >/dev/null ||
        die "cannot fetch the source of $name $version"
    mkdir "$work/$name"
    tar -x -f "$work/$file" -C "$work/$name" --strip-components=1
}

# build NAME OPTION...: builds $work/NAME and installs it in $work/prefix.
build() {
    local name=$1
    shift
    if ! (cmake -G Ninja -S "$work/$name" -B "$work/build.$name" \
        -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE="-O2 -DNDEBUG" \
        -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DBUILD_SHARED_LIBS=OFF \
        -DCMAKE_INSTALL_PREFIX="$work/prefix" -DCMAKE_INSTALL_LIBDIR=lib \
        -DCMAKE_PREFIX_PATH="$work/prefix" "$@" &&
        ninja -C "$work/build.$name" install) >"$work/$name.log" 2>&1; then
        tail -n 40 "$work/$name.log" >&2
        die "building $name failed"
    fi
}

# Ours are compiled beside mbedTLS's own sources of both, which then hold only
# their self tests.
replace_ciphers() {
    local list=$work/mbedtls/library/CMakeLists.txt x
    cp tools/mbedtls/*.[ch] "$work/mbedtls/library"
    for x in gcm chachapoly; do
        sed -i "s/^    $x\.c\$/    $x.c ${x}_alt.c ${x}_stock.c/" "$list"
        grep -q "${x}_alt" "$list" ||
            die "this mbedTLS lists its sources in another way"
        python3 "$work/mbedtls/scripts/config.py" \
            -f "$work/mbedtls/include/mbedtls/mbedtls_config.h" \
            set "MBEDTLS_${x^^}_ALT"
    done
    sed -i "s/^    gcm\.c /&fast_aead.c /" "$list"
    mkdir -p "$work/prefix/include"
    cp tools/mbedtls/*.h "$work/prefix/include"
}

build_mbedtls() {
    replace_ciphers
    # (a new gcc's warnings are not this project's business)
    build mbedtls -DENABLE_TESTING=OFF -DENABLE_PROGRAMS=OFF \
        -DMBEDTLS_FATAL_WARNINGS=OFF -DUSE_SHARED_MBEDTLS_LIBRARY=OFF \
        -DUSE_STATIC_MBEDTLS_LIBRARY=ON
}

# A version without the mistake does not take the patch: then the patch goes, if
# tests/integration/test_tls.py agrees.
patch_curl() {
    local x
    for x in tools/curl/*.patch; do
        patch -s -p1 -d "$work/curl" <"$x" ||
            die "$x does not fit this curl: does it still need it?"
    done
}

# HTTP and HTTPS, HTTP proxies, IPv6, resolving in a thread; all else off. No
# built-in CA path: what to trust is configuration.
build_curl() {
    patch_curl
    local off=() x
    for x in NTLM NEGOTIATE_AUTH KERBEROS_AUTH DIGEST_AUTH BEARER_AUTH AWS \
        ALTSVC COOKIES DOH HSTS NETRC MIME FORM_API SRP WEBSOCKETS \
        PROGRESS_METER; do
        off+=("-DCURL_DISABLE_$x=ON")
    done
    for x in CURL_USE_OPENSSL CURL_ZLIB CURL_BROTLI CURL_ZSTD USE_NGHTTP2 \
        CURL_USE_LIBSSH2 USE_LIBIDN2 CURL_USE_LIBPSL ENABLE_CURL_MANUAL \
        BUILD_LIBCURL_DOCS BUILD_MISC_DOCS BUILD_CURL_EXE BUILD_TESTING \
        BUILD_EXAMPLES PICKY_COMPILER; do
        off+=("-D$x=OFF")
    done
    build curl "${off[@]}" -DBUILD_STATIC_LIBS=ON -DHTTP_ONLY=ON \
        -DCURL_USE_MBEDTLS=ON -DENABLE_THREADED_RESOLVER=ON -DENABLE_IPV6=ON \
        -DCURL_CA_BUNDLE=none -DCURL_CA_PATH=none
}

# Its own makefile: the one for autotools builds all of it.
build_isal() {
    if ! make -C "$work/libisal" -f Makefile.unx units=crc lib \
        >"$work/libisal.log" 2>&1; then
        tail -n 40 "$work/libisal.log" >&2
        die "building libisal failed"
    fi
    cp "$work/libisal/bin/isa-l.a" "$work/prefix/lib/libisal.a"
    mkdir -p "$work/prefix/include/isa-l"
    cp "$work/libisal/include/"crc{,64}.h "$work/prefix/include/isa-l"
}

# .deps/libs is the link line, for configure: of mbedTLS's helper archives
# (everest, p256m) what this version has.
write_libs() {
    local line="-lcurl -lmbedtls -lmbedx509 -lmbedcrypto" x
    for x in everest p256m; do
        [ ! -e "$work/prefix/lib/lib$x.a" ] || line+=" -l$x"
    done
    echo "$line -lisal -lgcrypt -lpthread" >"$work/prefix/libs"
}

# A program must link statically against it, and find what we asked for.
smoke() {
    cat >"$work/smoke.c" <<-'END'
	#include <curl/curl.h>
	#include <mbedtls/version.h>
	#include <stdio.h>
	#include <string.h>

	int main(void)
	{
	    const int want = CURL_VERSION_SSL | CURL_VERSION_IPV6 |
	                     CURL_VERSION_ASYNCHDNS;
	    const curl_version_info_data *v = curl_version_info(CURLVERSION_NOW);
	    int https = 0;
	    CURL *e;

	    for (int i = 0; v->protocols[i]; i++)
	        https |= !strcmp(v->protocols[i], "https");
	    printf("curl %s, %s\n", v->version, v->ssl_version);
	    if (!https || (v->features & want) != want ||
	        strncmp(v->ssl_version, "mbedTLS/", 8) != 0)
	        return 1;
	    e = curl_easy_init();
	    if (!e || curl_easy_setopt(e, CURLOPT_URL, "https://localhost/") ||
	        curl_easy_setopt(e, CURLOPT_PROXY, "http://localhost:1"))
	        return 2;
	    curl_easy_cleanup(e);
	    return 0;
	}
	END
    # shellcheck disable=SC2046 # .deps/libs is a list of options
    cc -o "$work/smoke" -I"$work/prefix/include" "$work/smoke.c" \
        -L"$work/prefix/lib" $(cat "$work/prefix/libs") ||
        die "a program does not link with what was built"
    ! ldd "$work/smoke" | grep -Eq 'curl|mbed|ssl|crypto' ||
        die "the test program is not linked statically"
    "$work/smoke" >"$work/smoke.out" ||
        die "the built curl lacks a feature: $(cat "$work/smoke.out")"
}

say "building mbedTLS, libcurl and ISA-L in .deps (about a minute)"
apt_setup
fetch mbedtls "$MBEDTLS_MIN"
fetch curl "$CURL_MIN"
fetch_original libisal "$ISAL_MIN"
build_mbedtls
build_curl
build_isal
write_libs
smoke
# Only headers, archives and the link line: the rest names the build folder.
rm -rf "$work/prefix/"{bin,share,lib/cmake,lib/pkgconfig}
printf '%s\n' "$want" >"$work/prefix/stamp"
# Complete or not at all: copied beside (maybe another file system), renamed.
rm -rf "$DEPS.new"
cp -r "$work/prefix" "$DEPS.new"
rm -rf "$DEPS"
mv "$DEPS.new" "$DEPS"
say "$(cat "$work/smoke.out") in .deps, $((SECONDS - start)) s"
