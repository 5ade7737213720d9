#!/usr/bin/env bash
# Makes this machine ready to build setbridge: the system packages that the C parts need (librdkafka, aws-lc, SQLite), and
# a look at the Rust toolchain. Idempotent, and quick when nothing is missing. Installs by apt-get when it may (root, or
# sudo without a password); else prints the exact command and ends with 69.
#
#   scripts/setup.sh           to build
#   scripts/setup.sh --java    also Java 17 or later and Maven, for `make kafka` (tests only)
#   scripts/setup.sh --redis   also redis-server, for the tests of the shared state
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

java=false redis=false
case ${1-} in
'') ;;
--java) java=true ;;
--redis) redis=true ;;
*) fail 64 "usage: scripts/setup.sh [--java|--redis]" ;;
esac

has() { command -v "$1" >/dev/null 2>&1; }

# A C header is looked for with the compiler itself, so that a library installed otherwise than by apt counts too.
has_header() { has cc && printf '#include <%s>\n' "$1" | cc -E -o /dev/null - 2>/dev/null; }

# Java's own first line: `openjdk version "17.0.15" 2025-04-15`
java_major() { { java -version 2>&1 || true; } | sed -n 's/^.* version "\([0-9]*\).*/\1/p' | head -n 1; }

missing=()
{ has cc && has c++ && has make; } || missing+=(build-essential)
has pkg-config || missing+=(pkg-config)
has_header openssl/ssl.h || missing+=(libssl-dev)
has_header zlib.h || missing+=(zlib1g-dev)
has perl || missing+=(perl) # openssl-sys and aws-lc ask for it on some machines
has git || missing+=(git)
has python3 || missing+=(python3) # librdkafka's configure
if $java; then
    major=$(java_major)
    [ "${major:-0}" -ge 17 ] || missing+=(default-jre-headless)
    has mvn || missing+=(maven)
fi
if $redis; then
    # redis-tools, which comes with it, has redis-cli.
    { has redis-server && has redis-cli; } || missing+=(redis-server)
fi
if [ ${#missing[@]} -gt 0 ]; then
    apt_install "${missing[@]}"
fi
if $java && { major=$(java_major); [ "${major:-0}" -lt 17 ]; }; then
    fail 69 "Apache Kafka needs Java 17 or later; 'java' here is version ${major:-unknown}." \
        "Put a newer one first in PATH, or set JAVA_HOME."
fi

wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
has cargo || fail 69 "there is no Rust toolchain here: 'cargo' is not in PATH." \
    "Install Rust $wanted or later with rustup (https://rustup.rs), then run this again."
# In the words of rustc: `release: 1.95.0`
present=$(rustc -vV 2>/dev/null | sed -n 's/^release: //p' || true)
[ -n "$present" ] || fail 69 "'rustc -vV' does not answer: the Rust toolchain is broken or none is chosen." \
    "With rustup: 'rustup default stable', then run this again."
oldest=$(printf '%s\n%s\n' "$wanted" "${present%%-*}" | sort -V | head -n 1)
[ "$oldest" = "$wanted" ] || fail 69 "Rust $present is too old: setbridge needs $wanted or later." \
    "With rustup: 'rustup update stable', then run this again."
