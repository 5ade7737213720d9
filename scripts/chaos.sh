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
if [ -z "${SETBRIDGE_BIN-}" ]; then
    cargo build --release --locked --bin setbridge
    export SETBRIDGE_BIN=$target/release/setbridge
fi
# Its own exit codes: 1 when a promise was broken, others when the run says nothing.
driver=$(cargo test --locked --test chaos --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\/chaos-[^"]*\)".*/\1/p')
[ -x "$driver" ] || fail 70 "cargo built no driver"

if [ "${1-}" != --short ]; then
    options=(--seed "${SEED:-1}" --minutes "${MINUTES:-2}" --records "${RECORDS:-20000}")
    [ -z "${STATE-}" ] || options+=(--state "$STATE")
    [ -z "${PROTOCOL-}" ] || options+=(--protocol "$PROTOCOL")
    exec "$driver" "${options[@]}" "$@"
fi

"$driver" --seed 12 --minutes 0.8 --records 12000 --state redis --protocol consumer
"$driver" --seed 11 --minutes 0.8 --records 12000 --state sqlite-each --protocol classic

# A bridge that stores offsets early loses records, one that skips the lanes changes their order: both must be found.
cargo build --locked --features chaos-faults --bin setbridge
broken=$target/chaos/broken-setbridge
mkdir -p "$target/chaos"
cp "$target/debug/setbridge" "$broken"
found() { sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" "$target/chaos/summary.json"; }
for case in store_early:lost skip_lane:out_of_order; do
    code=0
    SETBRIDGE_BIN=$broken "$driver" --seed 13 --minutes 0.4 --records 4000 --state sqlite-alone --protocol consumer \
        --env "SETBRIDGE_BREAK=${case%:*}" || code=$?
    if [ "$code" != 1 ] || [ "$(found "${case#*:}")" = 0 ]; then
        fail 1 "the oracle did not find the bridge that is broken by ${case%:*} (exit code $code)"
    fi
    say "found, as it must be: ${case%:*}"
done
