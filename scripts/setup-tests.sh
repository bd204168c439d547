#!/usr/bin/env bash
# Installs from the system's packages what `make test` needs, where it may, and says what it skips and why where it
# may not. Needs nothing today; the place is here so that `make test` stays the one command to type.
set -euo pipefail
echo "setup-tests: nothing to install, the tests need cargo and a C compiler only; nothing is skipped"
command -v cargo >/dev/null || { echo "setup-tests: cargo is missing: install Rust 1.95 or newer" >&2; exit 1; }
command -v cc >/dev/null || { echo "setup-tests: no C compiler: install gcc, ring and zstd are built with it" >&2; exit 1; }
