#!/usr/bin/env bash
# Makes all that is given away, for x86_64 and aarch64: packaging/dist.sh [ARCH...]
# Packages of Debian, tarballs, Python wheels, and SHA-256 sums of them in target/packages.
set -euo pipefail
# shellcheck source=packaging/setting.sh
source "$(dirname "$0")/setting.sh"
cd "$root"
[ $# -gt 0 ] || set -- x86_64 aarch64
# Of this machine's architecture too: its programs write manual pages and completions.
own=$(uname -m)
case " $* " in *" $own "*) packaging/build.sh "$@" ;; *) packaging/build.sh "$own" "$@" ;; esac
rm -rf "$out"
packaging/stage.sh "$@"
packaging/deb.sh "$@"
packaging/tarball.sh "$@"
packaging/wheel.sh "$@"
say "in ${out#"$root/"}"
cd "$out"
sha256sum -- *.deb *.tar.xz *.whl | tee SHA256SUMS
