#!/bin/bash
# All tests, from a clean clone: installs what they need, builds with gcc, with
# clang, and with clang under ASan and UBSan (-Werror), runs the unit tests of
# each, the integration suite on the gcc and the sanitizer build, two other
# servers (tools/test-servers.sh) on the gcc build, distcheck.
#
# This is for the CI and before a merge. While working on something, in a tree
# that tools/build.sh has built once:
#
#   make check                    after every change; seconds, needs no root: unit
#                                 tests, headers, layers, signatures, sources
#   make check-mount K=rename     the part of the integration suite that pytest
#                                 -k takes that to mean; without K, all of it
#   make tidy                     clang-tidy
#
# They use the build folder where they run: build/default from the top of the
# tree, `make -C build/asan check` another one.
#
#   tools/test.sh [stage...]      default: all
#   stages: layers unit fuzz integration servers packages distcheck, or one build's alone:
#           unit-gcc unit-clang unit-asan integration-gcc integration-asan
#   not among all:
#     tidy       clang-tidy with the checks of .clang-tidy
#     threads    clang's -Wthread-safety: locks are given back on every way out
#     coverage   which lines unit tests and a part of the integration suite reach,
#                as a table by folders (build/report/coverage.txt)
#   STATEPROXY_FUZZ               seconds for each fuzz target (15), or "replay"
#   STATEPROXY_PYTEST_ARGS        more options for pytest, such as "-k rename"
#   STATEPROXY_TEST_JOBS          integration tests at a time (3): they mostly wait
#   STATEPROXY_COVERAGE           the part for coverage, as for -k
#
# Integration tests that count requests or measure time (pytest.mark.counts) run
# one at a time, after the others, and on the gcc build only; so do those of the
# tests' own tools (pytest.mark.tool), which are the same for every build, and those
# that repeat what others do once, or wait for deadlines (pytest.mark.repeats).
#
# The last line is `N passed, N failed`; the exit status says the same. Logs
# stay in build/report.
# shellcheck disable=SC2317 # stages are called by name
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=tools/lib.sh
. tools/lib.sh

ALL=(layers unit-gcc unit-clang unit-asan fuzz integration-gcc integration-asan
    servers packages distcheck)
EXTRA=(tidy threads coverage)
# For the stage `coverage`: what each operation does, and some of what goes wrong.
COVERED="test_basic or test_metadata or test_symlinks or test_xattrs or test_locks
    or test_fallocate or test_conflicts or test_rename_cas or test_faults or test_unmount"
# For the stage `servers`: from PyPI, and far from versitygw and MinIO. One closes
# each connection and ignores a condition, the other keeps none, takes markers
# for files and has other names in its XML.
SERVERS=(moto rclone)
REPORT=$PWD/build/report
MAKE=(make --no-print-directory -O -j "$(nproc)")
export LC_ALL=C.UTF-8

passed=0
failed=0
failures=()
# What the tests put in $TMPDIR, and the mark by which their processes are known.
work=$(mktemp -d "${TMPDIR:-/tmp}/stateproxy-test.XXXXXX")
chmod 755 "$work" # some tests run as other users
mark=STATEPROXY_TEST_RUN=${work##*.}

good() { passed=$((passed + $1)); }

bad() {
    failed=$((failed + $1))
    failures+=("$2")
    say "FAILED: $2"
}

show() {
    [ ! -s "$1" ] || { sed 's/^/    /' "$1" | tail -n "${2:-200}"; } >&2
}

# ---- leaving nothing behind

# Processes that a pytest run started and that outlived it: they carry the mark,
# or are programs of our own builds.
leftover_pids() {
    local proc
    for proc in /proc/[0-9]*; do
        if grep -qzxF "$mark" "$proc/environ" 2>/dev/null ||
            [[ "$(readlink "$proc/exe")" == "$PWD"/build/*/stateproxy* ]]; then
            echo "${proc#/proc/}"
        fi
    done
}

leftover_mounts() {
    awk -v dir="$work/" 'index($5, dir) == 1 { print $5 }' /proc/self/mountinfo
}

# Lazily: a mount whose daemon died or hangs must go too. Newest first.
clean_leftovers() {
    local pid dir
    for pid in $(leftover_pids); do
        kill -KILL "$pid" 2>/dev/null || true
    done
    leftover_mounts | tac | while IFS= read -r dir; do
        umount -l "$(printf '%b' "$dir")" || true
    done
}

finish() {
    local status=$?
    trap - EXIT INT TERM
    set +e
    clean_leftovers
    rm -rf --one-file-system "$work"
    if [ ${#failures[@]} -gt 0 ]; then
        printf 'failed: %s\n' "${failures[@]}"
    elif [ $((passed + failed)) -eq 0 ] || [ "$status" -ne 0 ]; then
        echo "failed: test.sh itself (status $status)"
        failed=$((failed + 1))
    fi
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit
}
trap finish EXIT
trap 'bad 1 interrupted; exit 130' INT TERM

# ---- builds

declare -A built=()

configure_kind() {
    case $1 in
    gcc) configure_in build/gcc CC=gcc --enable-werror ;;
    clang) configure_in build/clang CC=clang --enable-werror ;;
    asan) configure_in build/asan CC=clang --enable-werror --enable-sanitize ;;
    coverage)
        # Counters in a file that is mapped: a worker that is killed has counted too.
        configure_in build/coverage CC=clang --enable-werror CFLAGS="-g -O0 \
            -fprofile-instr-generate -fcoverage-mapping \
            -mllvm -runtime-counter-relocation -Wno-unused-command-line-argument"
        ;;
    esac
}

# Builds programs and unit tests of a kind once; says for which stage it failed.
build() {
    local kind=$1 stage=$2 log=$REPORT/build-$1.log start=$SECONDS
    if [ -z "${built[$kind]:-}" ]; then
        built[$kind]=no
        # the second make: all test programs, none of them run
        if (configure_kind "$kind" &&
            "${MAKE[@]}" -C "build/$kind" all &&
            "${MAKE[@]}" -C "build/$kind" check TESTS=) \
            >"$log" 2>&1; then
            built[$kind]=yes
            say "build $kind: $((SECONDS - start)) s"
        else
            show "$log" 100
        fi
    fi
    [ "${built[$kind]}" = yes ] || {
        bad 1 "$stage: cannot build ($kind)"
        return 1
    }
}

# ---- stages

stage_layers() {
    if tools/check-layers >"$REPORT/layers.log" 2>&1; then
        good 1
    else
        show "$REPORT/layers.log"
        bad 1 "layers: an include goes against tools/layers"
    fi
}

# A cmocka program counts its tests (TAP), any other check is one test. One that
# fails without a failed test (crash, leak) is one failure.
count_trs() {
    local stage=$1 trs=$2 log=${2%.trs}.log name ok notok result
    name=${trs#build/*/}
    name=${name%.trs}
    result=$(sed -n 's/^:test-result: \([A-Z]*\).*/\1/p' "$trs" | head -n 1)
    ok=$(grep -a '^ok [0-9]' "$log" | grep -vc '# SKIP' || true)
    notok=$(grep -a '^not ok [0-9]' "$log" | grep -vc '# SKIP' || true)
    case $result in
    PASS)
        [ $((ok + notok)) -gt 0 ] || ok=1
        ;;
    SKIP) ;;
    *)
        [ "$notok" -gt 0 ] || notok=1
        ;;
    esac
    good "$ok"
    if [ "$notok" -gt 0 ]; then
        show "$log"
        bad "$notok" "$stage: $name"
    fi
}

# What looks at sources need not do so for each build; but headers are to please
# both compilers.
tests_of() {
    case $1 in
    gcc) echo "" ;;
    clang) echo "TESTS=\$(unit_tests) tools/check-headers" ;;
    *) echo "TESTS=\$(unit_tests)" ;;
    esac
}

stage_unit() {
    local kind=$1 stage=unit-$1 log=$REPORT/unit-$1.log status=0 trs n=0 tests
    tests=$(tests_of "$kind")
    build "$kind" "$stage" || return 0
    find "build/$kind" -name '*.trs' -delete
    # a test that hangs is a failure, not a CI that never ends
    timeout --foreground -k 10 900 env CMOCKA_MESSAGE_OUTPUT=TAP \
        TMPDIR="$work" \
        "${MAKE[@]}" -C "build/$kind" -k check ${tests:+"$tests"} >"$log" 2>&1 ||
        status=$?
    local before=$failed
    while IFS= read -r trs; do
        count_trs "$stage" "$trs"
        n=$((n + 1))
    done < <(find "build/$kind" -name '*.trs' | sort)
    if [ "$n" -eq 0 ] || { [ "$status" -ne 0 ] && [ "$failed" -eq "$before" ]; }
    then
        show "$log" 60
        bad 1 "$stage: make check ended with status $status"
    fi
}

# One test a target; what it finds is shown by tests/fuzz/run.sh.
stage_fuzz() {
    local log=$REPORT/fuzz.log ok notok status=0
    timeout --foreground -k 10 900 tests/fuzz/run.sh -b build/fuzz \
        "${STATEPROXY_FUZZ:-15}" >"$log" 2>&1 9>&1 || status=$?
    ok=$(grep -c '^ok fuzz_' "$log" || true)
    notok=$(grep -c '^FAILED fuzz_' "$log" || true)
    good "$ok"
    if [ "$status" -ne 0 ] || [ "$ok" -eq 0 ] || [ "$notok" -gt 0 ]; then
        show "$log"
        [ "$notok" -gt 0 ] || notok=1
        bad "$notok" "fuzz: run.sh ended with status $status"
    fi
}

# Prints "passed failed" of a junit file.
read_junit() {
    python3 - "$1" <<-'END'
	import sys
	import xml.etree.ElementTree as tree

	n = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
	for suite in tree.parse(sys.argv[1]).iter("testsuite"):
	    for key in n:
	        n[key] += int(suite.get(key, 0))
	bad = n["failures"] + n["errors"]
	print(max(0, n["tests"] - bad - n["skipped"]), bad)
	END
}

# count_junit STAGE FILE LOG STATUS: what pytest has found, and how it ended.
count_junit() {
    local stage=$1 xml=$2 log=$3 status=$4 ok=0 notok=0
    if [ -s "$xml" ]; then
        read -r ok notok < <(read_junit "$xml")
    fi
    good "$ok"
    if [ "$status" -ne 0 ] || [ "$ok" -eq 0 ] || [ "$notok" -gt 0 ]; then
        show "$log"
        [ "$notok" -gt 0 ] || notok=1
        bad "$notok" "$stage: pytest ended with status $status"
    fi
}

# One test: that the stage has left nothing behind.
check_left() {
    local left
    for _ in 1 2 3 4 5 6; do # what was told to end has a moment to do so
        left=$(leftover_mounts; leftover_pids | xargs -r ps -o pid=,args= -p) ||
            true
        [ -n "$left" ] || break
        sleep 0.5
    done
    if [ -z "$left" ]; then
        good 1
    else
        printf '%s\n' "$left" >&2
        bad 1 "$1: mounts or processes left behind"
        clean_leftovers
    fi
}

# run_pytest KIND PART OPTION...: a part of the integration suite, with the
# programs of that build. 1: no test is in it.
run_pytest() {
    local kind=$1 stage=integration-$1 part=$1-$2 status=0
    local log=$REPORT/integration-$part.log xml=$REPORT/integration-$part.xml
    shift 2
    rm -f "$xml"
    # shellcheck disable=SC2086 # a list of options
    env "$mark" TMPDIR="$work" STATEPROXY_BIN_DIR="$PWD/build/$kind" \
        STATEPROXY_S3SERVER="$server" STATEPROXY_MINIO="$minio" \
        STATEPROXY_NO_SKIP=1 "${settings[@]}" \
        .venv/bin/python -m pytest --color=no --session-timeout=2400 \
        --durations=30 --junitxml="$xml" "$@" \
        ${STATEPROXY_PYTEST_ARGS:-} tests/integration >"$log" 2>&1 || status=$?
    [ "$status" -ne 5 ] || return 1
    count_junit "$stage" "$xml" "$log" "$status"
}

need_servers() {
    [ -n "$server" ] && [ -n "$minio" ] || {
        bad 1 "$1: no S3 server, or no second one (MinIO)"
        return 1
    }
}

# A sanitizer's report ends a worker, and a replacement takes over without the
# application noticing: so reports go to files, and each is a failure.
stage_integration() {
    local kind=$1 stage=integration-$1 san=$work/sanitizer-$1 settings=() some=no
    local side_by_side=(-n "${STATEPROXY_TEST_JOBS:-3}" --dist worksteal) file
    build "$kind" "$stage" && need_servers "$stage" || return 0
    tools/other-version >"$REPORT/other-version.log" 2>&1 || { # for test_upgrade.py
        show "$REPORT/other-version.log"
        bad 1 "$stage: tools/other-version"
        return 0
    }
    mkdir -m 1777 "$san"
    if [ "$kind" = asan ]; then
        # tests look at these to know what they run with
        settings=(STATEPROXY_TEST_SLOW=3 STATEPROXY_TEST_SOME=2
            ASAN_OPTIONS="detect_leaks=1:log_path=$san/report"
            UBSAN_OPTIONS="print_stacktrace=1:log_path=$san/report")
        run_pytest asan main "${side_by_side[@]}" -m "not counts and not tool and not repeats" &&
            some=yes
    else
        run_pytest gcc main "${side_by_side[@]}" -m "not counts" && some=yes
        run_pytest gcc counts -m counts && some=yes
    fi
    [ "$some" = yes ] || bad 1 "$stage: no test ran"

    for file in "$san"/*; do
        [ -e "$file" ] || continue
        show "$file"
        cp "$file" "$REPORT/$kind-${file##*/}"
        bad 1 "$stage: sanitizer report ${file##*/}"
    done
    check_left "$stage"
}

stage_servers() {
    local log=$REPORT/servers.log xml=$REPORT/servers.xml status=0
    build gcc servers || return 0
    rm -f "$xml"
    timeout --foreground -k 10 400 env "$mark" TMPDIR="$work" \
        STATEPROXY_BIN_DIR="$PWD/build/gcc" STATEPROXY_NO_SKIP=1 \
        PYTEST_ADDOPTS="--color=no --junitxml='$xml'" \
        tools/test-servers.sh "${SERVERS[@]}" >"$log" 2>&1 || status=$?
    count_junit servers "$xml" "$log" "$status"
    check_left servers
}

# The packages, in a Debian of their own (tests/packaging).
stage_packages() {
    local log=$REPORT/packages.log xml=$REPORT/packages.xml status=0
    build gcc packages || return 0
    [ -n "$server" ] || {
        bad 1 "packages: no S3 server"
        return 0
    }
    rm -f "$xml"
    timeout --foreground -k 10 900 env "$mark" TMPDIR="$work" \
        STATEPROXY_BIN_DIR="$PWD/build/gcc" STATEPROXY_S3SERVER="$server" \
        .venv/bin/python -m pytest --color=no --durations=10 \
        -c tests/packaging/pytest.ini --junitxml="$xml" tests/packaging \
        >"$log" 2>&1 || status=$?
    count_junit packages "$xml" "$log" "$status"
    check_left packages
}

# Every test is built from the archive. Those are run that read its files: the others are
# the very programs that the stage unit-gcc runs.
stage_distcheck() {
    local log=$REPORT/distcheck.log
    local tests='tests/conf/test_conf_print tests/s3/test_sigv4 $(dist_check_SCRIPTS)'
    build gcc distcheck || return 0
    if VERBOSE=1 "${MAKE[@]}" -C build/gcc distcheck "TESTS=$tests" >"$log" 2>&1; then
        good 1
    else
        show "$log" 100
        bad 1 "distcheck"
    fi
}

# ---- stages that are not among all

stage_tidy() {
    local log=$REPORT/tidy.log
    if (configure_kind clang && "${MAKE[@]}" -C build/clang tidy) >"$log" 2>&1; then
        good 1
    else
        show "$log"
        bad 1 "tidy: clang-tidy has found something"
    fi
}

# The programs only: unit tests die on purpose while they hold a lock.
stage_threads() {
    local log=$REPORT/threads.log
    if (configure_in build/threads CC=clang --enable-werror \
        CFLAGS="-O0 -Wthread-safety" &&
        "${MAKE[@]}" -C build/threads all) >"$log" 2>&1; then
        good 1
    else
        show "$log"
        bad 1 "threads: -Wthread-safety has found something"
    fi
}

stage_coverage() {
    local raw=$work/profiles table=$REPORT/coverage.txt
    local settings=(LLVM_PROFILE_FILE="$raw/%c%p-%m.profraw" STATEPROXY_TEST_SLOW=2)
    build coverage coverage && need_servers coverage || return 0
    mkdir -m 1777 "$raw"
    env "${settings[@]}" TMPDIR="$work" "${MAKE[@]}" -C build/coverage -k check \
        TESTS='$(unit_tests)' >"$REPORT/unit-coverage.log" 2>&1 || {
        show "$REPORT/unit-coverage.log" 60
        bad 1 "coverage: a unit test failed"
    }
    run_pytest coverage main -n "${STATEPROXY_TEST_JOBS:-3}" --dist worksteal \
        -k "${STATEPROXY_COVERAGE:-$COVERED}" ||
        bad 1 "coverage: no integration test ran"
    check_left coverage
    if tools/coverage-table build/coverage "$raw" >"$table"; then
        good 1
        cat "$table"
    else
        bad 1 "coverage: no table"
    fi
}

# ---- the run

stages=()
[ $# -gt 0 ] || set -- all
for arg in "$@"; do
    case $arg in
    all) stages+=("${ALL[@]}") ;;
    unit) stages+=(unit-gcc unit-clang unit-asan) ;;
    integration) stages+=(integration-gcc integration-asan) ;;
    *)
        [[ " ${ALL[*]} ${EXTRA[*]} " == *" $arg "* ]] || {
            bad 1 "no stage '$arg'; there are: ${ALL[*]} unit integration ${EXTRA[*]}"
            exit 1
        }
        stages+=("$arg")
        ;;
    esac
done

mkdir -p "$REPORT"
sets=(build test venv promtool)
[[ " ${stages[*]} " != *' packages '* ]] || sets+=(package)
[[ " ${stages[*]} " != *' tidy '* ]] || sets+=(tidy)
if ! { tools/install-deps.sh "${sets[@]}" && tools/deps.sh; }; then
    bad 1 "setup: the dependencies could not be installed"
    exit 1
fi
server='' minio=''
if [[ " ${stages[*]}" =~ " "(integration|packages|coverage) ]]; then
    server=$(tools/s3server.sh get) || true
    minio=$(tools/s3server.sh get minio) || true
fi
for stage in "${stages[@]}"; do
    start=$SECONDS was_passed=$passed was_failed=$failed
    case $stage in
    unit-* | integration-*) "stage_${stage%-*}" "${stage#*-}" ;;
    *) "stage_$stage" ;;
    esac
    say "$stage: $((passed - was_passed)) good, $((failed - was_failed)) bad," \
        "$((SECONDS - start)) s"
done
exit "$((failed > 0))"
