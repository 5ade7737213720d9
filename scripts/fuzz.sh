#!/usr/bin/env bash
# Fuzzes each target of tests/fuzz for so many seconds, one after another, and prints a table of what was tried.
#
#   scripts/fuzz.sh SECONDS [TARGET...]
#
# Ends with 1 when an input crashed a target, took longer than 10 s or more than 2 GB; the input stays in
# target/fuzz/artifacts/TARGET and is named. Once it is mended it becomes a unit test, and a seed in tests/fuzz/seeds/TARGET.
# What was found to reach new code is kept in target/fuzz/corpus/TARGET for the next run.
#
# Runs on stable Rust: cargo-fuzz passes its coverage flags by -C. Only the sanitizers would need a nightly compiler (or
# RUSTC_BOOTSTRAP=1). They are left out: the code under test is safe Rust (the one exception, src/ffi.rs, is not reached),
# the C below it is not instrumented anyway, and without them twice as much is tried in the same time.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

all=(records configuration time_headers error_bodies keys dead_letters)
seconds=${1:-60}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || fail 64 "usage: scripts/fuzz.sh SECONDS [TARGET...]"
targets=("${@:2}")
[ ${#targets[@]} -gt 0 ] || targets=("${all[@]}")
for target in "${targets[@]}"; do
    [ -e "tests/fuzz/targets/$target.rs" ] || fail 64 "there is no target $target; there are: ${all[*]}"
done

scripts/setup.sh
cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
folder=$PWD/target/fuzz
# The same versions of everything as in the service; what the fuzz crate has beyond them is added by cargo.
cp Cargo.lock tests/fuzz/Cargo.lock
# Once for all targets, and with courtesy: this compiles the whole service with counters, for some minutes.
nice -n "${FUZZ_NICE:-10}" cargo fuzz build --fuzz-dir tests/fuzz --target-dir "$folder" --sanitizer none

# What is tried at first, besides what earlier runs found.
seeds() {
    echo "tests/fuzz/seeds/$1"
    case $1 in
    keys) echo tests/fixtures/keys ;;
    configuration) echo config ;;
    esac
}

# The longest input worth trying.
longest() {
    case $1 in
    time_headers) echo 512 ;;
    configuration) echo 20000 ;;
    *) echo 8192 ;;
    esac
}

table=()
crashed=0
host=$(rustc -vV | sed -n 's/^host: //p')
for target in "${targets[@]}"; do
    corpus=$folder/corpus/$target
    found=$folder/artifacts/$target
    log=$folder/$target.log
    mkdir -p "$corpus" "$found"
    mapfile -t given < <(seeds "$target")
    say "== $target, $seconds s"
    code=0
    # For what libFuzzer cannot write down any more: see tests/fuzz/targets/current.rs.
    current=$folder/current-$target
    SETBRIDGE_FUZZ_INPUT=$current nice -n "${FUZZ_NICE:-10}" "$folder/$host/release/$target" \
        "-dict=tests/fuzz/dictionaries/$target.dict" "-artifact_prefix=$found/" "-max_len=$(longest "$target")" \
        "-max_total_time=$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=1 \
        "$corpus" "${given[@]}" >"$log" 2>&1 </dev/null || code=$?
    # libFuzzer's own words: `#2097152	DONE   cov: 812 ft: 3061 corp: 512/40Kb …`, `stat::number_of_executed_units: …`
    stat() { sed -n "s/^stat::$1: *//p" "$log" | tail -n 1; }
    last=$(grep -aE '^#[0-9]+.* cov: ' "$log" | tail -n 1 || true)
    coverage=$(sed -n 's/.* cov: \([0-9]*\).*/\1/p' <<<"$last")
    inputs=$(sed -n 's/.* corp: \([0-9]*\).*/\1/p' <<<"$last")
    ended=ok
    if [ "$code" != 0 ]; then
        crashed=1
        ended="CRASHED ($code)"
        input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
        if [ -z "$input" ] && [ -e "$current" ]; then
            input=$found/died-$(sha1sum <"$current" | cut -c 1-40)
            cp "$current" "$input"
        fi
        tail -n 30 "$log" >&2
        say "$target crashed. Its message is in $log, the input is ${input:-not known}"
    fi
    rm -f "$current"
    table+=("$(printf '| %-14s | %8s | %12s | %9s | %8s | %7s | %s |' "$target" "$seconds" \
        "$(stat number_of_executed_units)" "$(stat average_exec_per_sec)" "$coverage" "$inputs" "$ended")")
done

printf '| %-14s | %8s | %12s | %9s | %8s | %7s | %s |\n' target seconds executions 'a second' edges inputs end
printf '|---|---|---|---|---|---|---|\n'
printf '%s\n' "${table[@]}"
exit "$crashed"
