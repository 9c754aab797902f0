#!/usr/bin/env bash
# Makes the Debian packages of both programs: packaging/deb.sh ARCH...; first stage.sh.
set -euo pipefail
# shellcheck source=packaging/setting.sh
source "$(dirname "$0")/setting.sh"
cd "$root"
cargo deb --version >/dev/null 2>&1 || {
    say "cargo-deb, once"
    cargo install --quiet --locked --debug --root "$work/cargo" cargo-deb@3.8.0
    PATH=$work/cargo/bin:$PATH
}
mkdir -p "$out"
for arch in "$@"; do
    ln -sfn "$arch" "$work/stage/current"
    for program in "${programs[@]}"; do
        # Stripped and built already; dpkg-shlibdeps knows this machine's architecture only.
        cargo deb --quiet --locked --no-build --no-strip --package "$program" \
            --target "$(triple "$arch")" --output "$out/"
    done
done
ls -l "$out"/*.deb
