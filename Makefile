# The chores of the house. `verify` never writes, `fix` does. A chore is one line of cargo; what needs more is Rust in
# crates/xtask or a script.
#
#   CARGO_TARGET_DIR   where cargo builds, target/ if unset
#   SCENARIOS=10000    how many random scenarios of each kind `oracle` compares with OTP
#   SEEDS=200          how many seeds `sim` runs, from FROM=1 on; SEED=n runs that one alone
#   TIME=60            seconds for each target of `fuzz`; FUZZ="net_hello .." takes these alone
#   DEMO_EXIT=1        the demo exits when it is done; status 0 only if every figure is exact

.DEFAULT_GOAL := help
.PHONY: help verify fix test sim oracle loom sanitize fuzz demo bench-actor crowd bench-net rolling bench-peers doc
TARGET := $(or $(CARGO_TARGET_DIR),target)
SCENARIOS ?= 10000
SEEDS ?= 200
FROM ?= 1
TIME ?= 60
FUZZ ?=

help: ## list these targets
	@sed -nE 's/^([a-z-]+):.*## (.*)$$/  make \1\t\2/p' Makefile | expand -t 20

verify: ## check format, lints, house rules, docs and dependencies; writes nothing but build output
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo run -q --locked -p xtask -- tidy
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	cargo run -q --locked -p xtask -- policy

fix: ## format, and mend what clippy can mend
	cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	cargo fmt --all

test: ## install what the tests need, then run them all
	scripts/setup-tests.sh
	cargo test --workspace --locked --no-fail-fast

sim: ## run SEEDS seeds of a cluster on virtual time with crashes, splits, loss and wrong clocks, or one SEED again
	cargo build --release -q --locked -p tiebeam-sim
	$(TARGET)/release/tiebeam-sim $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --from $(FROM)) $(ARGS)

oracle: ## run SCENARIOS random scenarios of each kind on real OTP and on Tiebeam, and compare what can be seen
	scripts/setup-tests.sh
	ORACLE_SCENARIOS=$(SCENARIOS) cargo test -p tiebeam-actor --locked --test oracle -- --nocapture

loom: ## try all ways in which threads can meet at the mailbox, the state word and the slot of an answer
	RUSTFLAGS="--cfg tiebeam_loom" cargo test -p tiebeam-actor --locked --lib --target-dir $(TARGET)/loom with_loom

sanitize: ## run the actors' tests under AddressSanitizer and ThreadSanitizer, where a nightly compiler is there
	scripts/sanitize.sh $(TARGET)/sanitize

fuzz: ## hand arbitrary bytes to every decoder, each for TIME seconds, where a nightly compiler is there
	scripts/fuzz.sh $(abspath $(TARGET))/fuzz $(TIME) $(FUZZ)

demo: ## build, start five nodes, stream the flights, kill nodes on the way, print a table that is exact
	cargo build --release --locked -p tiebeam-cli
	$(TARGET)/release/tiebeam demo

bench-actor: ## measure actors beside BEAM, bare tokio, ractor and kameo; table, and target/bench/actor.json
	cargo build --release --locked --manifest-path testbed/bench-actor/Cargo.toml --target-dir $(TARGET)
	$(TARGET)/release/bench-actor

crowd: ## show a million actors and a tree of 100,000 start and end, and a flood at each kind of full mailbox
	cargo build --release --locked --manifest-path testbed/bench-actor/Cargo.toml --target-dir $(TARGET)
	MALLOC_ARENA_MAX=1 $(TARGET)/release/bench-actor --crowd --flood

bench-net: ## measure actors across two nodes beside distributed Erlang over TLS; table, and target/bench/net.json
	cargo build --release --locked --manifest-path testbed/bench-net/Cargo.toml --target-dir $(TARGET)
	$(TARGET)/release/bench-net

rolling: ## restart five nodes one after the other under load; ARGS="--deaths 50": show how soon all know of a death
	cargo build --release --locked --manifest-path testbed/rolling/Cargo.toml --target-dir $(TARGET)
	$(TARGET)/release/rolling $(ARGS)

bench-peers: ## install what the benchmarks compare with, where that is allowed
	scripts/bench-peers.sh

doc: ## build the documentation, warnings as errors
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
