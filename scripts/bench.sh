#!/usr/bin/env bash
# The benches: signing side by side, then the whole path as three processes (mock Kafka, bridge, receiver) against
# `openssl speed`, right before it. Leaves target/bench/summary.json. docs/performance.md says how to read it.
# Arguments go to benches/whole_path/main.rs: --rounds N, --seconds S, --strict.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

command -v openssl >/dev/null || apt_install openssl
folder=$PWD/target/bench
mkdir -p "$folder"
# Before anything is measured: a compiler on the same cores would be measured, too.
cargo bench --locked --bench sign --bench whole_path --no-run
SETBRIDGE_BENCH_JSON=$folder/sign.json cargo bench --locked --bench sign -- --quick
cargo bench --locked --bench whole_path -- --sign "$folder/sign.json" --summary "$folder/summary.json" "$@"
