#!/usr/bin/env bash
# Fits each preset without a VAE and prints what it costs and what it finds, as a Markdown table.
#
#   benches/detection/presets.sh DATASET [SEED] [FLAGS OF fit…]
#   benches/detection/presets.sh ../shared/data/mtd 1
#   PRESETS="edge best" BENCH_SECONDS=10 benches/detection/presets.sh ../shared/data/mtd 1
#
# DATASET is in MVTec AD layout. A preset that the trainer lacks has a row that says so. Time a
# frame is that of `bench` on tract, one thread, the golden frame in memory; memory that of `score`
# on the test frames, one after the other. Results stay in target/bench-presets/NAME-PRESET-SEED*.
set -euo pipefail
dataset=$(realpath "${1:?usage: $0 DATASET [SEED] [FLAGS OF fit…]}")
seed=${2:-1}
shift $(($# < 2 ? $# : 2))
cd "$(dirname "$0")/../.."
profile=${PROFILE:-release}
out=target/bench-presets
mkdir -p "$out"
exec python3 - "target/$profile" "$dataset" "$out" "$seed" "$@" <<'PY'
import json, os, subprocess, sys, time
from pathlib import Path

programs, dataset, out, seed, *flags = sys.argv[1:]
presets = os.environ.get("PRESETS", "tiny edge balanced best").split()
seconds = os.environ.get("BENCH_SECONDS", "3")
fit, judge = f"{programs}/edge-vae-train", f"{programs}/edge-vae"


def run(*command):
    """What the command writes, and the most MiB that it had."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    text = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{' '.join(command)}: ended with {child.returncode}")
    return text, usage.ru_maxrss / 1024


def row(preset):
    model = Path(out) / f"{Path(dataset).name}-{preset}-{seed}"
    for folder in (model, Path(f"{model}.training")):
        subprocess.run(["rm", "-rf", str(folder)], check=True)
    began = time.monotonic()
    flags_of_fit = ["--preset", preset, "--vae", "off", "--seed", seed, "--json", *flags]
    report, _ = run(fit, "fit", dataset, "--out", str(model), *flags_of_fit)
    fitted = time.monotonic() - began
    engine = ["--model", str(model), "--backend", "tract", "--device", "cpu", "--threads", "1"]
    bench, _ = run(judge, "bench", *engine, "--jobs", "1", "--seconds", seconds, "--json")
    _, memory = run(judge, "score", *engine, "--jobs", "1", f"{dataset}/test")
    evaluation, _ = run(judge, "evaluate", *engine, dataset, "--bootstrap", "0", "--json")
    Path(f"{model}.json").write_bytes(evaluation)
    bench, evaluation = json.loads(bench.splitlines()[0]), json.loads(evaluation)
    size = sum(file.stat().st_size for file in model.rglob("*") if file.is_file())
    info = json.loads(run(judge, "model", "info", str(model), "--json")[0])
    channels, height, width = info["input_shape"]
    fit_peak = json.loads(report).get("peak_memory_bytes")
    metric = lambda key: f"{100 * evaluation[key]:.1f}" if evaluation.get(key) is not None else "–"
    return [
        preset,
        f"{width}×{height}×{channels}",
        f"{bench['latency_ms']['p50']:.1f}",
        f"{memory:.0f}",
        f"{size / 1e6:.1f}",
        metric("image_AUROC"),
        f"{metric('pixel_AUROC')} / {metric('pixel_AUPRO')}",
        f"{fitted:.0f}",
        f"{fit_peak / 2**20:.0f}" if fit_peak else "–",
    ]


head = ["preset", "tensor", "ms a frame (p50)", "`score`, MiB", "bundle, MB", "image AUROC",
        "pixel AUROC / AUPRO", "fit, s", "fit, MiB"]
table = [head, ["---"] * len(head)]
# The error names those that there are.
offered = subprocess.run([fit, "fit", "--preset", "?"], capture_output=True, text=True).stderr
for preset in presets:
    if preset not in offered:
        table.append([preset, "not in this trainer"] + ["–"] * (len(head) - 2))
        continue
    table.append(row(preset))
for line in table:
    print("| " + " | ".join(line) + " |")
PY
