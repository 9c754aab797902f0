#!/usr/bin/env bash
# A long run of many small frames, as fast as they go: memory, file descriptors and threads after the
# first thousand frames and at the end. Fails if memory grew by more than 2 %, or either of the
# others changed.
#
#   benches/soak.sh [FRAMES] [MODEL]        1000000 models/digits28
#
# EDGE_VAE names the program (default: that of the profile `dist`).
set -euo pipefail
cd "$(dirname "$0")/.."
frames=${1:-1000000}
model=${2:-models/digits28}
program=${EDGE_VAE:-target/dist/edge-vae}
[ -x "$program" ] || cargo build --locked --profile dist

room=$(mktemp -d)
port=$((20000 + RANDOM % 20000))
# Frames are drawn once and repeated: what is measured is the pipeline, not the drawing.
"$program" watch "synth://surface?width=32&height=32&defects=0.01&distinct=997&count=$frames" \
    --model "$model" --json --log "$room/events.jsonl" --metrics "127.0.0.1:$port" \
    >/dev/null 2>"$room/messages" &
pid=$!
trap 'kill $pid 2>/dev/null || true; rm -rf "$room"' EXIT

judged() { # frames judged so far
    { exec 3<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null || { echo 0; return; }
    printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3
    awk '/^edge_vae_frames_total/ { sum += $2 } END { print sum + 0 }' <&3
    exec 3<&-
}
resident() { awk '/^VmRSS/ { print $2 }' "/proc/$pid/status"; }
descriptors() { find "/proc/$pid/fd" -mindepth 1 | wc -l; }
threads() { find "/proc/$pid/task" -mindepth 1 -maxdepth 1 | wc -l; }
sample() { echo "$(judged) $(resident) $(descriptors) $(threads)"; }

while kill -0 $pid 2>/dev/null && [ "$(judged)" -lt 1000 ]; do sleep 0.2; done
read -r _ first_memory first_descriptors first_threads <<<"$(sample)"
printf '%12s %12s %12s %8s\n' frames 'memory KiB' descriptors threads
printf '%12s %12s %12s %8s\n' '>=1000' "$first_memory" "$first_descriptors" "$first_threads"
last=
while kill -0 $pid 2>/dev/null; do
    # The last sample of a running program counts as the end.
    now=$(sample 2>/dev/null) || break
    [ "$(wc -w <<<"$now")" -eq 4 ] && [ "${now%% *}" -gt 0 ] && last=$now
    sleep "${SOAK_INTERVAL:-5}"
done
wait $pid || { cat "$room/messages" >&2; exit 1; }
read -r count memory descriptors threads <<<"$last"
printf '%12s %12s %12s %8s\n' "$count" "$memory" "$descriptors" "$threads"
grep -E 'judged|total' "$room/messages"
awk -v a="$first_memory" -v b="$memory" 'BEGIN {
    printf "memory %+.2f %%\n", 100 * (b / a - 1); exit !(b <= 1.02 * a) }'
[ "$descriptors" -eq "$first_descriptors" ] && [ "$threads" -eq "$first_threads" ]
