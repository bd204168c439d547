#!/usr/bin/env bash
# Hands arbitrary bytes to every decoder, each for TIME seconds, under AddressSanitizer: testbed/fuzz has a target for each.
# Needs a nightly compiler and a C++ one; without them this says so and does nothing. What was found interesting is kept
# in the folder given for build output, and the next run goes on from there; what breaks a target lies there, too.
#
#   scripts/fuzz.sh OUT TIME [TARGET..]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../testbed/fuzz"
readonly out=${1:?the folder for build output is missing} seconds=${2:?the number of seconds is missing}
readonly host=x86_64-unknown-linux-gnu
shift 2
say() { echo "fuzz: $*"; }

cargo +nightly --version >/dev/null 2>&1 || { say "SKIPPED: no nightly compiler here"; exit 0; }
command -v c++ >/dev/null || { say "SKIPPED: no C++ compiler here, which libfuzzer needs"; exit 0; }

# What cargo-fuzz passes; for a target, so that build scripts stay as they are.
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address -Cunsafe-allow-abi-mismatch=sanitizer \
    -Ccodegen-units=1 --cfg fuzzing"
cargo +nightly build --release --locked -q --target "$host" --target-dir "$out"

targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(sed -n 's/^path = "src\/\(.*\)\.rs"$/\1/p' Cargo.toml)
failed=()
for target in "${targets[@]}"; do
    mkdir -p "$out/corpus/$target" "$out/artifacts/$target"
    seeds=()
    [ -d "seeds/$target" ] && seeds=("seeds/$target")
    log="$out/$target.log"
    # A decoder that takes longer than 5 s, or 512 MiB, for some kilobytes is broken as well.
    if "$out/$host/release/$target" "$out/corpus/$target" "${seeds[@]}" -max_total_time="$seconds" -timeout=5 \
        -rss_limit_mb=512 -max_len=4096 -print_final_stats=1 -artifact_prefix="$out/artifacts/$target/" >"$log" 2>&1; then
        say "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs, $(ls "$out/corpus/$target" | wc -l) kept, nothing found"
    else
        say "$target: FOUND SOMETHING; $log ends with:"
        tail -20 "$log"
        failed+=("$target")
    fi
done
[ ${#failed[@]} -eq 0 ] || { say "found something in: ${failed[*]}"; exit 1; }
