#!/usr/bin/env bash
# Every test once: unit, over the wire, documentation. Arguments go to cargo test.
#
# The broker tests run on librdkafka's mock cluster and on an Apache Kafka: KAFKA_BOOTSTRAP when set, else target/kafka
# (`make kafka`), which this script tries to put there. Where neither can be had the mock cluster is all, and the last lines
# say so; with SETBRIDGE_REQUIRE_KAFKA=1 that is a failure. The tests of the shared state start redis-server, which is
# installed when it is missing. On a CPU with AVX512-IFMA the multi-buffer library is fetched, too, and its tests fail without.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

required() { case ${SETBRIDGE_REQUIRE_KAFKA-} in '' | 0) return 1 ;; esac; }

scripts/setup.sh --redis
scripts/crypto_mb.sh --require
report=$PWD/target/tmp/brokers-used.txt
mkdir -p target/tmp
: >"$report"
export SETBRIDGE_TEST_REPORT=$report
export SETBRIDGE_KAFKA_LIBS=${SETBRIDGE_KAFKA_LIBS:-$PWD/target/kafka/libs}

if [ -z "${KAFKA_BOOTSTRAP-}" ] && ! scripts/kafka.sh; then
    if required; then
        fail 69 "SETBRIDGE_REQUIRE_KAFKA is set, KAFKA_BOOTSTRAP is not, and 'make kafka' failed: see above"
    fi
    # A half-fetched folder must not look like a Kafka.
    export SETBRIDGE_KAFKA_LIBS=$PWD/target/kafka/none
fi

code=0
cargo test --locked --no-fail-fast "$@" </dev/null || code=$?

# What the tests wrote down about themselves; tests/it/support/used.rs says how.
lines() { sed -n "s/^$1\t//p" "$report" | sort -u; }
printf '\n'
if [ -n "$(lines broker)" ]; then
    printf 'brokers: the mock cluster and %s\n' "$(lines broker | paste -sd ' ' -)"
elif [ -s "$report" ]; then
    printf 'brokers: THE MOCK CLUSTER ONLY. There is no Apache Kafka here: see the messages at the start\n'
else
    printf 'brokers: none; no test of this run asked for one\n'
fi
lines mock-only | sed 's/^/    on the mock cluster only: /'
lines left-out | sed 's/^/    left out: /'
if grep -qw avx512ifma /proc/cpuinfo 2>/dev/null; then
    printf 'signatures: by aws-lc-rs, and eight at once by crypto_mb\n'
else
    printf 'signatures: BY AWS-LC-RS ONLY. This CPU has no AVX512-IFMA: no test of crypto_mb did anything\n'
fi
if required && [ -n "$(lines mock-only)$(lines left-out)" ]; then
    fail 1 "SETBRIDGE_REQUIRE_KAFKA is set, and the tests above did not run on Apache Kafka"
fi
[ "$code" = 0 ] || printf 'cargo test ended with %s\n' "$code"
exit "$code"
