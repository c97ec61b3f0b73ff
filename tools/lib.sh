# shellcheck shell=bash
# What the scripts of this folder share: messages, and packages from apt.
# Sourced, never run.

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
    say "error: $*"
    exit 1
}

# Prints those of the named packages that are not installed.
apt_missing() {
    dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null |
        awk -v want="$*" '
            $2 == "installed" { have[$1] = 1 }
            END {
                n = split(want, w, " ")
                for (i = 1; i <= n; i++)
                    if (!(w[i] in have)) print w[i]
            }'
}

# Installs what is missing of the named packages. Asks dpkg first, so that a
# machine that has everything neither waits for apt nor needs root.
apt_need() {
    command -v dpkg-query >/dev/null ||
        die "this is not a Debian machine: install by hand: $*"
    local missing=() sudo=()
    mapfile -t missing < <(apt_missing "$@")
    [ ${#missing[@]} -gt 0 ] || return 0

    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null ||
            die "missing packages; as root: apt-get install ${missing[*]}"
        sudo=(sudo)
    fi
    say "installing: ${missing[*]}"
    local apt log
    log=$(mktemp)
    apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq
        -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 -o Acquire::Retries=3)
    # A stale or empty package list is usual on a fresh machine. A third-party
    # source that fails here must not stop us: the install below will tell.
    "${apt[@]}" update >"$log" 2>&1 || true
    if ! "${apt[@]}" install -y --no-install-recommends "${missing[@]}" \
        >>"$log" 2>&1; then
        tail -n 30 "$log" >&2
        rm -f "$log"
        die "apt-get install failed for: ${missing[*]}"
    fi
    rm -f "$log"
}

# configure_in FOLDER OPTION...: makes configure and runs it in FOLDER, if that
# was not done already with these options and these dependencies. Anything else
# in FOLDER is thrown away: stale objects are worse than a rebuild.
configure_in() {
    local dir=$1 key
    shift
    # automake mixes up the two kinds of build
    [ ! -e config.status ] ||
        die "configure was run in the tree itself: 'make distclean' first"
    if [ ! -f configure ] || [ ! -f Makefile.in ] ||
        [ configure.ac -nt configure ]; then
        ./autogen.sh >&2
    fi
    key="$* $(cat .deps/stamp 2>/dev/null)"
    if [ -f "$dir/Makefile" ] && [ "$(cat "$dir/key" 2>/dev/null)" = "$key" ]
    then
        return 0
    fi
    chmod -R u+w "$dir" 2>/dev/null || true # distcheck leaves read-only trees
    rm -rf "$dir"
    mkdir -p "$dir"
    (cd "$dir" && ../../configure --quiet "$@") >&2
    printf '%s\n' "$key" >"$dir/key"
}
