#!/usr/bin/env bash
# Unpacks the tarball, installs it below a prefix, judges frames, upgrades, removes.
set -euo pipefail
# shellcheck source=packaging/setting.sh
source "$(dirname "$0")/../setting.sh"
arch=$(uname -m)
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
tar --extract --file "$out/edge-vae-$version-$arch-linux-gnu.tar.xz" --directory "$here"
cd "$here"
installer=$here/edge-vae-$version-$arch-linux-gnu/install.sh
unset EDGE_VAE_MODEL ORT_DYLIB_PATH
"$installer" --prefix "$here/prefix of mine"
"$here/prefix of mine/bin/edge-vae" score --quiet "prefix of mine"/share/edge-vae/frames/*.png >seen
[ "$(grep -c anomalous seen)" -eq 5 ] || fail "the shipped frames are judged otherwise"
# Over itself while it runs.
"$here/prefix of mine/bin/edge-vae" watch 'synth://surface?fps=5' --quiet \
    --model "prefix of mine/share/edge-vae/models/surface" --duration 5s >/dev/null &
"$installer" --prefix "$here/prefix of mine" >/dev/null
wait
echo kept >"prefix of mine/share/kept"
"$installer" --prefix "$here/prefix of mine" --uninstall
left=$(find "prefix of mine" -type f)
[ "$left" = "prefix of mine/share/kept" ] || fail "left after --uninstall: $left"
if "$installer" --prefx x 2>refused; then fail "a wrong flag was taken"; fi
grep -q 'expected --prefix' refused
echo "tarball: installed, judged, upgraded while it ran, removed"
