#!/usr/bin/env bash
# Makes a tarball with install.sh, for any Linux with glibc 2.28 or newer: packaging/tarball.sh
# ARCH...; first stage.sh. It is linked dynamically: ONNX Runtime is opened at run time, which a
# static program can't do.
set -euo pipefail
# shellcheck source=packaging/setting.sh
source "$(dirname "$0")/setting.sh"
cd "$root"
mkdir -p "$out"
for arch in "$@"; do
    name=edge-vae-$version-$arch-linux-gnu
    folder=$work/tarball/$name
    rm -rf "$folder"
    mkdir -p "$folder"
    for program in "${programs[@]}"; do
        cp -a "$work/stage/$arch/$program"/{bin,share} "$folder/"
    done
    mkdir -p "$folder/share/edge-vae/systemd"
    sed 's#/usr/bin/#/usr/local/bin/#' "packaging/edge-vae@.service" \
        >"$folder/share/edge-vae/systemd/edge-vae@.service"
    sed 's#/usr/share/#/usr/local/share/#' packaging/demo.toml \
        >"$folder/share/edge-vae/systemd/demo.toml"
    cp packaging/60-edge-vae.rules "$folder/share/edge-vae/systemd/"
    cp LICENSE-APACHE LICENSE-MIT README.md packaging/install.sh "$folder/"
    tar --create --xz --file "$out/$name.tar.xz" --directory "$work/tarball" --sort=name \
        --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --mtime="@$SOURCE_DATE_EPOCH" "$name"
    ls -l "$out/$name.tar.xz"
done
