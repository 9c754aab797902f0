# What CI runs, by hand. `--workspace` everywhere: another set of packages would be another set of
# features, and tract and candle would be compiled once more.
.PHONY: check format lint slim test docs structure deny arm64 dist dist-test bench

check: format structure lint docs test

format:
	cargo fmt --all --check

# Import circles, rooms, lengths of files and lines.
structure:
	.ci/structure.py

lint:
	cargo clippy --locked --workspace --all-targets $(CARGO_FLAGS) -- -D warnings

# The library with one engine and nothing else, and how many crates that takes.
slim:
	@for engine in tract ort; do \
	    flags="--locked --package edge-vae --no-default-features --features $$engine"; \
	    cargo clippy $$flags --lib $(CARGO_FLAGS) -- -D warnings || exit 1; \
	    crates=$$(cargo tree $$flags --edges normal --prefix none | sed 's/ (\*)//' | sort -u | wc -l); \
	    echo "$$engine alone: $$crates crates"; \
	done

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps $(CARGO_FLAGS)

test:
	cargo test --locked --workspace $(CARGO_FLAGS)

# Licences, banned and foreign sources: `cargo install --locked cargo-deny`.
deny:
	cargo deny --locked check bans licenses sources

# The programs for arm64, held against this machine's under qemu-aarch64.
arm64:
	packaging/arm64.sh

# All that is given away: packages of Debian, tarballs, wheels, sums. Slow to build.
dist:
	packaging/dist.sh

# What `make dist` made, installed and run. The last two need root and debootstrap.
dist-test:
	packaging/test/wheel.sh
	packaging/test/tarball.sh
	packaging/test/chroot.sh bookworm --boot
	packaging/test/chroot.sh jammy --boot

# Each part of a verdict, then whole processes and nodes. Nothing else should run on the machine.
bench:
	cargo build --locked --profile dist
	cargo bench --locked --workspace --profile dist --bench parts
	benches/start_to_verdict.sh
	target/dist/edge-vae bench --nodes
