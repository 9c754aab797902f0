#!/usr/bin/env bash
# Makes Python wheels that carry the programs: packaging/wheel.sh ARCH...; first stage.sh.
set -euo pipefail
# shellcheck source=packaging/setting.sh
source "$(dirname "$0")/setting.sh"
for arch in "$@"; do
    for program in "${programs[@]}"; do
        "$root/packaging/wheel.py" "$work/stage/$arch/$program" "$arch" "$out"
    done
done
