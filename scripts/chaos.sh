#!/usr/bin/env bash
# The oracle: three brokers, up to three members, faults at once, and every promise checked afterwards (tests/chaos).
# SEED, MINUTES, RECORDS, STATE (sqlite-alone, sqlite-each, redis), PROTOCOL (classic, consumer) choose the run; arguments
# go to the driver. Leaves target/chaos/summary.json, schedule.txt and the bridges' logs. The bridge is the release binary,
# or SETBRIDGE_BIN.
#
#   scripts/chaos.sh           one run
#   scripts/chaos.sh --short   what CI runs: fixed seeds, and bridges that are broken on purpose, which must be found
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

target=${CARGO_TARGET_DIR:-$PWD/target}
export SETBRIDGE_KAFKA_LIBS=${SETBRIDGE_KAFKA_LIBS:-$PWD/target/kafka/libs}

scripts/kafka.sh
scripts/setup.sh --redis

# driver: prints the path of the driver. Its own exit codes: 1 when a promise was broken, others when the run says nothing.
driver() {
    local path
    path=$(cargo test --locked --test chaos --no-run --message-format=json |
        sed -n 's/.*"executable":"\([^"]*\/chaos-[^"]*\)".*/\1/p')
    [ -x "$path" ] || fail 70 "cargo built no driver"
    printf '%s\n' "$path"
}

if [ "${1-}" != --short ]; then
    if [ -z "${SETBRIDGE_BIN-}" ]; then
        cargo build --release --locked --bin setbridge
        export SETBRIDGE_BIN=$target/release/setbridge
    fi
    options=(--seed "${SEED:-1}" --minutes "${MINUTES:-2}" --records "${RECORDS:-20000}")
    [ -z "${STATE-}" ] || options+=(--state "$STATE")
    [ -z "${PROTOCOL-}" ] || options+=(--protocol "$PROTOCOL")
    driver=$(driver)
    exec "$driver" "${options[@]}" "$@"
fi

# A bridge that stores offsets early loses records, one that skips the lanes changes their order: both must be found. It is
# built first, for what the tests build is called the same and comes after it.
mkdir -p "$target/chaos"
cargo build --locked --features chaos-faults --bin setbridge
cp "$target/debug/setbridge" "$target/chaos/broken-setbridge"
# The bridge of the tests: nothing more is built, and it is fast enough for this.
driver=$(driver)
cargo build --locked --bin setbridge
cp "$target/debug/setbridge" "$target/chaos/setbridge"
export SETBRIDGE_BIN=${SETBRIDGE_BIN:-$target/chaos/setbridge}

# One cluster for all. A run of a broken bridge ends as soon as it is found.
broken=(--seed 13 --minutes 1 --records 10000 --state sqlite-alone --protocol consumer --bin "$target/chaos/broken-setbridge")
exec "$driver" \
    --seed 12 --minutes 0.5 --records 7500 --state redis --protocol consumer --then \
    --seed 11 --minutes 0.5 --records 7500 --state sqlite-each --protocol classic --then \
    "${broken[@]}" --env SETBRIDGE_BREAK=store_early --finds lost --then \
    "${broken[@]}" --env SETBRIDGE_BREAK=skip_lane --finds out_of_order
