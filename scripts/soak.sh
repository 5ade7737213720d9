#!/usr/bin/env bash
# A bridge under steady load from a receiver with faults for MINUTES (5) at RATE (100) detections a second, on Apache Kafka
# with its state in SQLite, or with STATE=redis in Redis, while dead letters are replayed (tests/soak). Ends with 1 when
# memory, open files, threads, the SQLite file or what is in Redis grew after a warm-up, or a detection or a replay has no
# outcome. The bridge is the release binary, or SETBRIDGE_BIN.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

target=${CARGO_TARGET_DIR:-$PWD/target}
scripts/kafka.sh
scripts/setup.sh
if [ -z "${SETBRIDGE_BIN-}" ]; then
    cargo build --release --locked --bin setbridge
    export SETBRIDGE_BIN=$target/release/setbridge
fi
driver=$(cargo test --locked --test soak --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\/soak-[^"]*\)".*/\1/p')
[ -x "$driver" ] || fail 70 "cargo built no driver"
options=()
if [ "${STATE-}" = redis ]; then
    scripts/setup.sh --redis
    options+=(--redis)
fi
exec "$driver" "${options[@]}" --minutes "${MINUTES:-5}" --rate "${RATE:-100}"
