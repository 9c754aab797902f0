#!/usr/bin/env bash
# Builds the container of slim Debian on the bare system of chroot.sh in place of the image of a
# registry, and judges frames in it. Needs root and buildah, no container engine.
set -euo pipefail
# shellcheck source=packaging/setting.sh
source "$(dirname "$0")/../setting.sh"
base=$work/chroot/bookworm
[ -e "$base.done" ] || fail "no $base: run packaging/test/chroot.sh bookworm first"
tool=(buildah --storage-driver vfs --root "$work/containers" --runroot "$work/containers-run")
container=
clean() {
    [ -z "$container" ] || "${tool[@]}" rm "$container" >/dev/null
    "${tool[@]}" rmi --all --force >/dev/null 2>&1 || true
    rm -rf "$work/containers" "$work/containers-run"
}
trap clean EXIT
container=$("${tool[@]}" from scratch)
"${tool[@]}" add --quiet "$container" "$base" / >/dev/null
"${tool[@]}" commit --quiet "$container" localhost/debian:12-slim >/dev/null
"${tool[@]}" rm "$container" >/dev/null
container=
case $(uname -m) in x86_64) architecture=amd64 ;; *) architecture=arm64 ;; esac
"${tool[@]}" bud --isolation chroot --quiet --build-arg BASE=localhost/debian:12-slim \
    --build-arg TARGETARCH="$architecture" --tag localhost/edge-vae \
    --file "$root/packaging/container/Containerfile" "$out"
container=$("${tool[@]}" from localhost/edge-vae)
"${tool[@]}" run --isolation chroot "$container" -- /usr/bin/edge-vae score --quiet \
    /usr/share/edge-vae/frames/pit.png | grep anomalous
echo "container: built, judged"
