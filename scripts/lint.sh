#!/usr/bin/env bash
# Formatting, clippy, documentation and dependencies, with warnings as errors. One argument runs one of them:
# fmt, clippy, doc, deny, shell.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

component() {
    cargo "$1" --version >/dev/null 2>&1 ||
        fail 69 "'cargo $1' is not installed. With rustup: rustup component add $2"
}

fmt() {
    component fmt rustfmt
    cargo fmt --all --check
    # A crate of its own, which cargo fmt does not see.
    rustfmt --check --edition 2024 tests/fuzz/targets/*.rs
}
clippy() {
    component clippy clippy
    cargo clippy --locked --all-targets -- -D warnings
}
doc() { RUSTDOCFLAGS='-D warnings' cargo doc --locked --no-deps --document-private-items; }
deny() { scripts/deny.sh; }
shell() {
    command -v shellcheck >/dev/null || apt_install shellcheck
    shellcheck -x scripts/*.sh tests/kafka/*.sh .ci/run
}

if [ $# = 0 ]; then
    set -- fmt shell clippy doc deny
fi
for check in "$@"; do
    case $check in
    fmt | shell | clippy | doc | deny) "$check" ;;
    *) fail 64 "usage: scripts/lint.sh [fmt|shell|clippy|doc|deny]..." ;;
    esac
done
