#!/bin/bash
# Builds the fuzz targets with clang (libFuzzer, ASan, UBSan) out of the tree,
# with the libraries of tools/deps.sh, and runs each from its kept corpus.
#
#   tests/fuzz/run.sh [-b FOLDER] [-t TARGET]... [SECONDS | replay]
#
#   SECONDS   that long each (60), as many at once as there are processors
#   replay    only what is kept: seconds, for every run of the CI
#   -b        where to build (build/fuzz); also gets what the fuzzer finds worth
#             keeping (corpus/), logs, and the inputs that fail (crashes/)
#   -t        only this target, such as fuzz_xml
#
# Prints a line for each target, "ok" or "FAILED" first. An input that failed is
# run again with FOLDER/fuzz_TARGET FILE; once what it shows is fixed, it goes
# into tests/fuzz/corpus.
set -euo pipefail
cd "$(dirname "$0")/../.."

dir=build/fuzz
targets=()
while getopts b:t: opt; do
    case $opt in
    b) dir=$OPTARG ;;
    t) targets+=("$OPTARG") ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
seconds=${1:-60}
if [ ${#targets[@]} -eq 0 ]; then
    for file in tests/fuzz/fuzz_*.c; do
        targets+=("$(basename "$file" .c)")
    done
fi

top=$PWD
mkdir -p "$dir/crashes"
make -s -j "$(nproc)" -C "$dir" -f "$top/tests/fuzz/fuzz.mk" TOP="$top" \
    "${targets[@]}" >&2

run_target() {
    local target=$1 status=0 n
    local log=$target.log
    local args=(-timeout=25 -rss_limit_mb=2048 -max_len=4096
        -print_final_stats=1 "-artifact_prefix=crashes/$target-")
    cd "$dir"
    mkdir -p "corpus/$target"
    if [ "$seconds" = replay ]; then
        args+=(-runs=0)
    else
        args+=("-max_total_time=$seconds" "corpus/$target")
    fi
    "./$target" "${args[@]}" "$top/tests/fuzz/corpus/${target#fuzz_}" \
        >"$log" 2>&1 || status=$?
    n=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    if [ "$status" -eq 0 ]; then
        echo "ok $target: ${n:-0} executions"
        return
    fi
    { grep -aE 'does not hold|ERROR: |runtime error|Test unit written' "$log" ||
        tail -n 5 "$log"; } | head -n 20 | sed "s/^/    /" || true
    echo "FAILED $target: status $status, ${n:-some} executions, $dir/$log"
    return 1
}

failed=0
pids=()
for target in "${targets[@]}"; do
    if [ ${#pids[@]} -ge "$(nproc)" ]; then
        wait "${pids[0]}" || failed=1
        pids=("${pids[@]:1}")
    fi
    run_target "$target" &
    pids+=($!)
done
for pid in "${pids[@]}"; do
    wait "$pid" || failed=1
done
exit "$failed"
