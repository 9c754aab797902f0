#!/usr/bin/env bash
# Builds the programs that are given away: packaging/build.sh x86_64|aarch64 ...
# One build of the whole workspace is in all packages, so that what is tested is what is shipped.
set -euo pipefail
# shellcheck source=packaging/setting.sh
source "$(dirname "$0")/setting.sh"
cd "$root"
zig_tools
clean_paths
for arch in "$@"; do
    target=$(triple "$arch")
    say "$target, profile $profile, glibc $glibc"
    rustc --print target-libdir --target "$target" | xargs test -d ||
        rustup target add "$target"
    cargo zigbuild --locked --workspace --bins --profile "$profile" \
        --target "$target.$glibc" ${JOBS:+--jobs "$JOBS"}
    for program in "${programs[@]}"; do
        file=$(built "$arch")/$program
        needed=$(needs_glibc "$file")
        [ "$(printf '%s\n' "$needed" "$glibc" | sort -V | tail -1)" = "$glibc" ] ||
            fail "$file needs glibc $needed, more than $glibc"
        if strings "$file" | grep -qF "$root/"; then
            fail "$file holds a path of this machine: $(strings "$file" | grep -m1 -F "$root/")"
        fi
        printf '%-16s %-8s %5.1f MB, needs glibc %s\n' "$program" "$arch" \
            "$(stat -c %s "$file" | awk '{ print $1 / 1e6 }')" "$needed"
    done
done
