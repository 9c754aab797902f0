#!/usr/bin/env bash
# The programs for arm64, cross-built and run here under qemu-aarch64:
#   packaging/arm64.sh [BUNDLE FRAMES]...
# Scores of the shipped models, of a model of the feature route that is trained here, and of each
# BUNDLE on FRAMES, on tract and on ONNX Runtime, against those of this x86-64 machine; then the
# library's tests that compute. Everything is kept in target/, a second run builds only what changed.
# ARM64_TESTS=off leaves the tests out, ARM64_TRAIN=off the training. BUILT names a folder of arm64
# programs that are there, EDGE_VAE_OWN one of x86-64 programs.
set -euo pipefail
# shellcheck source=packaging/setting.sh
source "$(dirname "$0")/setting.sh"
cd "$root"
# What CI compiles anyway on x86-64; link-time optimisation would build each test for minutes.
profile=${PROFILE:-release}
export PROFILE=$profile
onnxruntime=1.32.0
place=$work/arm64
mkdir -p "$place"

say "qemu, C library and ONNX Runtime for arm64"
# qemu of Debian 12 (7.2) crashes in dlopen; ONNX Runtime needs it.
emulator=${QEMU_AARCH64:-$(command -v qemu-aarch64 || true)}
recent() { [ -x "$1" ] && "$1" --version | awk 'NR == 1 { exit $3 + 0 < 8 }'; }
# Unpacks packages of a Debian release into a folder, and installs nothing.
unpack() {
    local release=$1 folder=$2 apt
    shift 2
    mkdir -p "$place/apt/$release"/{lists,cache/archives}/partial "$folder"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
        "http://deb.debian.org/debian $release main" >"$place/apt/$release/sources"
    apt=(apt-get -qq -o "Dir::Etc::sourcelist=$place/apt/$release/sources"
        -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$place/apt/$release/lists"
        -o "Dir::Cache=$place/apt/$release/cache" -o APT::Sandbox::User=root)
    "${apt[@]}" update
    (cd "$place/apt/$release" && rm -f ./*.deb && "${apt[@]}" download "$@" &&
        for file in ./*.deb; do dpkg-deb -x "$file" "$folder"; done)
}
if ! recent "$emulator"; then
    emulator=$place/qemu/usr/bin/qemu-aarch64
    # Static, of Debian's backports.
    recent "$emulator" || unpack bookworm-backports "$place/qemu" qemu-user
fi
"$emulator" --version | head -1
# The oldest that ONNX Runtime's wheel runs with is 2.28; this is Debian 12's, 2.36.
libraries=$place/libraries/usr/aarch64-linux-gnu
[ -e "$libraries/lib/libstdc++.so.6" ] ||
    unpack bookworm "$place/libraries" libc6-arm64-cross libgcc-s1-arm64-cross \
        libstdc++6-arm64-cross
ort=$place/onnxruntime-$onnxruntime
[ -d "$ort" ] || {
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$place" \
        --only-binary=:all: --python-version 3.11 --platform manylinux_2_28_aarch64 \
        --platform manylinux_2_27_aarch64 "onnxruntime==$onnxruntime"
    python3 -m zipfile -e "$place"/onnxruntime-$onnxruntime-*aarch64.whl "$ort"
}
ort_arm64=$(echo "$ort"/onnxruntime/capi/libonnxruntime.so.*)
# For x86-64: as in CI.
ort_own=${ORT_DYLIB_PATH:-}
[ -e "$ort_own" ] || ort_own=
unset ORT_DYLIB_PATH EDGE_VAE_MODEL

say "build"
[ "${BUILT:-}" ] || packaging/build.sh aarch64
own=${EDGE_VAE_OWN:-$CARGO_TARGET_DIR/$profile}
[ -x "$own/edge-vae" ] || cargo build --locked --workspace --bins --profile "$profile"
arm64() { "$emulator" -L "$libraries" "$(built aarch64)/$1" "${@:2}"; }
for program in "${programs[@]}"; do arm64 "$program" --version; done

pairs=(models/surface examples/frames models/digits28 examples/frames)
if [ "${ARM64_TRAIN:-on}" = on ]; then
    say "a model of the feature route, trained on x86-64"
    if ! [ -e "$place/model/manifest.toml" ]; then
        rm -rf "$place"/{drawn,model,model.training}
        "$own/edge-vae-train" synth --out "$place/drawn" --seed 7 --train 24 --test-good 3 \
            --per-kind 1 --quiet
        # Two steps: its networks are what they are, the backbone and the densities judge.
        "$own/edge-vae-train" fit "$place/drawn/train" --out "$place/model" --seed 1 --quiet \
            --preset edge --size 128 --batch 2 --steps 2 --score features
    fi
    pairs+=("$place/model" "$place/drawn/test")
fi
pairs+=("$@")

say "equality with x86-64"
count=0
while [ "$count" -lt "${#pairs[@]}" ]; do
    bundle=${pairs[$count]} frames=${pairs[$((count + 1))]}
    count=$((count + 2))
    name=$(basename "$bundle")
    "$own/edge-vae" score --quiet --json --model "$bundle" --backend tract "$frames" \
        >"$place/own-tract"
    arm64 edge-vae score --quiet --json --model "$bundle" --backend tract "$frames" \
        >"$place/arm64-tract"
    arm64 edge-vae score --quiet --json --model "$bundle" --backend ort \
        --ort-library "$ort_arm64" "$frames" >"$place/arm64-ort"
    packaging/compare.py "$name: tract, arm64 and x86-64" "$bundle" "$place"/{own-tract,arm64-tract}
    packaging/compare.py "$name: arm64, ONNX Runtime and tract" "$bundle" "$place"/arm64-{tract,ort}
    if [ "$ort_own" ]; then
        "$own/edge-vae" score --quiet --json --model "$bundle" --backend ort \
            --ort-library "$ort_own" "$frames" >"$place/own-ort"
        packaging/compare.py "$name: ONNX Runtime, arm64 and x86-64" "$bundle" "$place"/{own,arm64}-ort
    fi
    # Every array of the golden frame, on both engines.
    arm64 edge-vae model verify --all-engines --quiet --ort-library "$ort_arm64" "$bundle"
done

say "NEON in operators of our own"
packaging/neon/count.sh "$emulator" "$libraries"

if [ "${ARM64_TESTS:-on}" = on ]; then
    say "the library's tests that compute, under qemu"
    zig_tools
    clean_paths
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$emulator -L $libraries"
    ORT_DYLIB_PATH=$ort_arm64 cargo-zigbuild test --locked --profile "$profile" \
        --target "$(triple aarch64).$glibc" ${JOBS:+--jobs "$JOBS"} --workspace --lib -- \
        backend:: image:: preprocess:: vae:: scoring:: model::
    ORT_DYLIB_PATH=$ort_arm64 cargo-zigbuild test --locked --profile "$profile" \
        --target "$(triple aarch64).$glibc" ${JOBS:+--jobs "$JOBS"} --workspace \
        --test detector
fi
