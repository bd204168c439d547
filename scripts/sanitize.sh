#!/usr/bin/env bash
# Runs the tests of tiebeam-actor under AddressSanitizer and ThreadSanitizer, in the folder given for build output.
# Both need a nightly compiler; without one this says so and does nothing.
#
# The pool of short-lived memory is off: the sanitizers see each block's life only if it comes from the allocator.
# ThreadSanitizer works with the standard library as it is delivered, which it doesn't see into; what it then reports of
# that is listed in sanitize.supp, each with its reason.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly out=${1:?the folder for build output is missing}
readonly host=x86_64-unknown-linux-gnu
say() { echo "sanitize: $*"; }

cargo +nightly --version >/dev/null 2>&1 || { say "SKIPPED: no nightly compiler here"; exit 0; }

run() {
    local sanitizer=$1
    say "$sanitizer"
    RUSTFLAGS="-Zsanitizer=$sanitizer -Cunsafe-allow-abi-mismatch=sanitizer --cfg tiebeam_no_pool" \
        cargo +nightly test --locked -q -p tiebeam-actor --lib --test it --target "$host" --target-dir "$out/$sanitizer"
}

run address
TSAN_OPTIONS="suppressions=$PWD/scripts/sanitize.supp history_size=7" run thread
