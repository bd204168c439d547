#!/usr/bin/env bash
# Runs the tests of tiebeam-actor under AddressSanitizer and ThreadSanitizer, in the folder given for build output.
# Both need a nightly compiler; without one this says so and does nothing.
#
# The pool of short-lived memory is off: the sanitizers see each block's life only if it comes from the allocator.
# ThreadSanitizer does not see into the standard library as it is delivered, so whatever tokio guards by a lock or a
# fence of it is reported as a race. Of the tests with a runtime, those reports count that begin in the folder of unsafe
# code, and in which no count of an `Arc` took part; of the tests of that folder itself, all count.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly out=${1:?the folder for build output is missing}
readonly host=x86_64-unknown-linux-gnu
say() { echo "sanitize: $*"; }

cargo +nightly --version >/dev/null 2>&1 || { say "SKIPPED: no nightly compiler here"; exit 0; }

run() {
    local sanitizer=$1
    shift
    say "$sanitizer: $*"
    # A backtrace is printed by code that the sanitizers don't see into, and takes seconds.
    RUST_BACKTRACE=0 RUSTFLAGS="-Zsanitizer=$sanitizer -Cunsafe-allow-abi-mismatch=sanitizer --cfg tiebeam_no_pool" \
        cargo +nightly test --locked -q -p tiebeam-actor "$@" --target "$host" --target-dir "$out/$sanitizer"
}

# Prints the reports whose accesses are made in the folder of unsafe code.
races_in_raw() {
    awk '
        /WARNING: ThreadSanitizer: data race/ { report = ""; in_raw = 0; counted = 0 }
        { report = report $0 "\n" }
        /^    #[0-2] .*tiebeam-actor\/src\/raw\// { in_raw = 1 }
        /^    #[0-9]+ .*Arc<.*(drop_slow|Drop>::drop)/ { counted = 1 }
        /^SUMMARY: ThreadSanitizer/ { if (in_raw && !counted) { print report; found = 1 } }
        END { exit !found }
    ' "$1"
}

run address --lib --test it
TSAN_OPTIONS="suppressions=$PWD/scripts/sanitize.supp history_size=7" run thread --lib
log="$out/thread.log"
TSAN_OPTIONS="suppressions=$PWD/scripts/sanitize.supp history_size=7 exitcode=0" run thread --test it >"$log" 2>&1 ||
    { tail -n 50 "$log"; exit 1; }
if races_in_raw "$log"; then exit 1; fi
say "no leak, no wrong access, no race"
