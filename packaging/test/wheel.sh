#!/usr/bin/env bash
# Installs the wheels into a bare environment without a network and judges frames there.
set -euo pipefail
# shellcheck source=packaging/setting.sh
source "$(dirname "$0")/../setting.sh"
arch=$(uname -m)
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
env -u PIP_FIND_LINKS "$here/venv/bin/pip" install --quiet --disable-pip-version-check --no-index \
    "$out"/edge_vae{,_train}-*"_$arch.whl"
cd "$here"
export PATH=$here/venv/bin:$PATH
unset EDGE_VAE_MODEL ORT_DYLIB_PATH
[ "$(command -v edge-vae)" = "$here/venv/bin/edge-vae" ]
edge-vae --version
edge-vae-train --version
# The shipped model is found without a word, and so are the frames.
edge-vae score --quiet "$here"/venv/share/edge-vae/frames/*.png | tee seen
[ "$(grep -c anomalous seen)" -eq 5 ] || fail "the shipped frames are judged otherwise"
man -l "$here/venv/share/man/man1/edge-vae-score.1.gz" >/dev/null 2>&1 ||
    zcat "$here/venv/share/man/man1/edge-vae-score.1.gz" | grep -q '^\.TH'
pip show --files edge-vae | grep -q 'sboms/edge-vae.cdx.json'
pip uninstall --quiet --yes edge-vae edge-vae-train
left=$(find "$here/venv" -path '*edge*vae*' -type f)
[ -z "$left" ] || fail "left after pip uninstall: $left"
echo "wheel: installed, judged, removed"
