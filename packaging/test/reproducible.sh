#!/usr/bin/env bash
# Two clean builds of the committed state in two folders give the same bytes:
# packaging/test/reproducible.sh [ARCH]. Compiles everything twice; the packages are kept.
set -euo pipefail
# shellcheck source=packaging/setting.sh
source "$(dirname "$0")/../setting.sh"
arch=${1:-$(uname -m)}
here=$work/reproducible
rm -rf "$here"
for folder in "$here/one" "$here/another/one"; do
    git clone --quiet "$root" "$folder"
    CARGO_TARGET_DIR=$folder/target "$folder/packaging/dist.sh" "$arch"
done
diff "$here"/{one,another/one}/target/packages/SHA256SUMS
rm -rf "$out"
mv "$here/one/target/packages" "$out"
rm -rf "$here"
say "reproducible: the same bytes twice"
