#!/usr/bin/env bash
# Counts the instructions of our operators' inner loops on arm64, as they are compiled and without
# vectors: packaging/neon/count.sh EMULATOR LIBRARIES. Called by arm64.sh. The difference of two
# calls and one is a call without the start of the program; qemu logs each instruction.
set -euo pipefail
# shellcheck source=packaging/setting.sh
source "$(dirname "$0")/../setting.sh"
emulator=$1
libraries=$2
zig_tools
# The interpreter that has the package ziglang: where cargo-zigbuild is.
python=$(dirname "$(command -v cargo-zigbuild)")/python
place=$work/neon
mkdir -p "$place"
executed() {
    "$emulator" -L "$libraries" -one-insn-per-tb -d exec,nochain -D "$place/log" "$@"
    grep -c '^Trace' "$place/log"
    rm "$place/log"
}
# call LOOP NAME FLAG...: instructions of a call of LOOP.rs.
call() {
    local loop=$1 name=$1-$2
    shift 2
    rustc --edition 2024 --target aarch64-unknown-linux-gnu -C opt-level=3 -C panic=abort "$@" \
        --allow dead_code --allow unreachable_pub --crate-type staticlib -o "$place/$name.a" \
        "$root/packaging/neon/$loop.rs"
    "$python" -m ziglang cc -target "aarch64-linux-gnu.$glibc" "$place/$name.a" -lunwind \
        -o "$place/$name"
    echo $(($(executed "$place/$name" again) - $(executed "$place/$name")))
}
# compare LOOP TIMES WHAT: fails unless vectors spare more than so many times.
compare() {
    local vectors plain
    vectors=$(call "$1" vectors)
    plain=$(call "$1" plain -C no-vectorize-loops -C no-vectorize-slp)
    printf '%s: %d instructions, %d without vectors: %s times as many\n' \
        "$3" "$vectors" "$plain" "$(awk "BEGIN { printf \"%.1f\", $plain / $vectors }")"
    [ $((plain)) -gt $(($2 * vectors)) ] || fail "$1 is not vectorised on arm64"
}
compare weighted_sums 4 "9 taps, 4096 sums"
compare products 2 "a triangle of 152×152 bytes times a vector"
compare pointwise 2 "6 channels of 40, 256 pixels"
