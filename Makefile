# What CI runs, by hand. One profile serves tests and checks, so that tract and candle are compiled
# once; `--workspace` everywhere, because another set of packages would be another set of features.
.PHONY: check format lint test docs release bench

check: format lint test docs

format:
	cargo fmt --all --check

lint:
	cargo clippy --locked --workspace --all-targets -- -D warnings

test:
	cargo test --locked --workspace

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps

release:
	cargo build --locked --release

bench: release
	benches/start_to_verdict.sh
