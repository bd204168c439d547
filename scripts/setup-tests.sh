#!/usr/bin/env bash
# Installs from the system's packages what `make test` needs, where it may, and says what it skips and why where it
# may not.
set -euo pipefail
say() { echo "setup-tests: $*"; }

# Prints how to become root, which is nothing if we are; fails if we may not.
as_root() {
    if [ "$(id -u)" = 0 ]; then return 0; fi
    command -v sudo >/dev/null && sudo -n true 2>/dev/null && echo "sudo -n"
}

install_erlang() {
    command -v apt-get >/dev/null || { say "no apt-get here, so erlang-base is not installed"; return 1; }
    local root
    root=$(as_root) || { say "neither root nor sudo without a password, so erlang-base is not installed"; return 1; }
    export DEBIAN_FRONTEND=noninteractive
    local get="$root ${root:+env DEBIAN_FRONTEND=noninteractive }apt-get -qq -o DPkg::Lock::Timeout=60"
    # The lists of a fresh machine are empty, those of an old one may name what is no longer there.
    $get install -y --no-install-recommends erlang-base >/dev/null 2>&1 ||
        { $get update >/dev/null 2>&1 && $get install -y --no-install-recommends erlang-base >/dev/null 2>&1; } ||
        { say "apt-get can't install erlang-base"; return 1; }
}

command -v cargo >/dev/null || { say "cargo is missing: install Rust 1.95 or newer" >&2; exit 1; }
command -v cc >/dev/null || { say "no C compiler: install gcc, ring and zstd are built with it" >&2; exit 1; }

if command -v erl >/dev/null || install_erlang; then
    say "erl is there; nothing is skipped"
else
    say "SKIPPED: the comparison with real OTP, which needs erl (tests/oracle of tiebeam-actor); the rest runs"
fi
