#!/usr/bin/env bash
# From process start to the verdict on one 256×256 frame, and peak memory: the profile `dist`, a
# fresh process each time. Prints medians; nothing else should run on the machine.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-21}
frame=$(ls examples/frames/*.png | head -n 1)
binary=target/dist/edge-vae
[ -x "$binary" ] || cargo build --locked --profile dist

measure() {
    python3 - "$runs" "$@" <<'PY'
import os, statistics, subprocess, sys, time

runs, command = int(sys.argv[1]), sys.argv[2:]
wall, peak = [], []
for turn in range(runs + 1):
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"{command}: exit status {status}")
    if turn:  # the first warms the file cache
        wall.append(1000 * (time.perf_counter() - began))
        peak.append(usage.ru_maxrss / 1024)
print(
    f"{statistics.median(wall):7.1f} ms ({min(wall):.1f}–{max(wall):.1f})   "
    f"{statistics.median(peak):6.1f} MiB peak   {' '.join(command)}"
)
PY
}

echo "start to verdict, median (minimum–maximum) of $runs processes:"
for model in models/*/; do
    measure "$binary" score --model "${model%/}" "$frame"
done
if [ -n "${ORT_DYLIB_PATH:-}" ]; then
    measure "$binary" score --backend ort --model models/surface "$frame"
fi
ls -l "$binary" | awk '{ printf "binary: %.1f MB\n", $5 / 1e6 }'
