# shellcheck shell=bash
# What the scripts share: `say`, `fail` and `apt_install`. Sourced, never run.

say() { printf '%s\n' "$*" >&2; }

# fail CODE WORDS...: ends the script; the codes are those of sysexits.h (69: something it needs is not there).
fail() {
    local code=$1
    shift
    say "$@"
    exit "$code"
}

# The words before a command that needs root: none for root, `sudo -n` where sudo asks for no password, else not to be had.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

may_be_root() { [ "$(id -u)" = 0 ] || { command -v sudo && sudo -n true; } >/dev/null 2>&1; }

# apt_install PACKAGE...: installs them, or prints the command that would and ends the script with 69.
apt_install() {
    local command="apt-get update && apt-get install -y --no-install-recommends $*"
    if ! command -v apt-get >/dev/null; then
        fail 69 "missing here, by their Debian names: $*. Install them with this system's package tool, then run this again."
    fi
    if ! may_be_root; then
        fail 69 "missing packages, and no root here to install them. Run this, then run this script again:" \
            $'\n'"    sudo sh -c '$command'"
    fi
    say "installing $*"
    # The lists may be absent or old; asking for them costs seconds and only when something is missing.
    as_root apt-get update -qq >&2 || say "apt-get update failed; trying with the package lists that are here"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2 </dev/null ||
        fail 69 "apt-get could not install: $*. The command was:"$'\n'"    $command"
}
