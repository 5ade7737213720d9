#!/usr/bin/env bash
# The oracle: three brokers, up to three members, faults at once, and every promise checked afterwards (tests/chaos).
# SEED, MINUTES, RECORDS, STATE (sqlite-alone, sqlite-each, redis), PROTOCOL (classic, consumer) choose the run; arguments
# go to the driver. Leaves target/chaos/summary.json, schedule.txt and the bridges' logs. The bridge is the release binary,
# or SETBRIDGE_BIN.
#
#   scripts/chaos.sh           one run
#   scripts/chaos.sh --short   what CI runs: a short run of each state, fixed seeds, and bridges that are broken on purpose
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

target=${CARGO_TARGET_DIR:-target}
export SETBRIDGE_KAFKA_LIBS=${SETBRIDGE_KAFKA_LIBS:-$PWD/target/kafka/libs}

drive() { cargo test --locked --quiet --test chaos -- "$@" </dev/null; }

scripts/kafka.sh
scripts/setup.sh --redis
if [ -z "${SETBRIDGE_BIN-}" ]; then
    cargo build --release --locked --bin setbridge
    export SETBRIDGE_BIN=$PWD/$target/release/setbridge
    case $target in /*) SETBRIDGE_BIN=$target/release/setbridge ;; esac
fi

if [ "${1-}" != --short ]; then
    options=(--seed "${SEED:-1}" --minutes "${MINUTES:-2}" --records "${RECORDS:-20000}")
    [ -z "${STATE-}" ] || options+=(--state "$STATE")
    [ -z "${PROTOCOL-}" ] || options+=(--protocol "$PROTOCOL")
    drive "${options[@]}" "$@"
    exit
fi
