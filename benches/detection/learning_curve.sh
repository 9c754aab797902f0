#!/usr/bin/env bash
# How detection depends on the number of normal frames: trains on N of them, drawn by the seed, the
# fewer among the more, evaluates each model on the whole test part, and prints a line for each N.
#
#   benches/detection/learning_curve.sh DATASET "NUMBERS" SEED [FLAGS OF fit…]
#   benches/detection/learning_curve.sh ../shared/data/mtd "1 2 4 8 16 32 64 256" 1 --vae off
#
# DATASET has the layout train/good/*, test/<kind>/*. Models and reports stay in
# target/bench-learning-curve.
set -euo pipefail
dataset=$(realpath "${1:?usage: $0 DATASET [NUMBERS] [SEED] [FLAGS OF fit…]}")
numbers=${2:-"1 2 4 8 16 32 64 256 all"}
seed=${3:-1}
shift $(($# < 3 ? $# : 3))
cd "$(dirname "$0")/../.."
profile=${PROFILE:-release}
out=target/bench-learning-curve
for number in $numbers; do
    model=$out/$number
    rm -rf "$model"*
    mkdir -p "$model.frames/train/good"
    DATASET=$dataset NUMBER=$number SEED=$seed OUT=$model.frames/train/good python3 - <<'PY'
import os, pathlib, random
good = sorted((pathlib.Path(os.environ["DATASET"]) / "train/good").iterdir())
number = os.environ["NUMBER"]
if number != "all":
    if int(number) > len(good):
        raise SystemExit(f"{number} normal frames asked for, the data set has {len(good)}")
    good = random.Random(int(os.environ["SEED"])).sample(good, len(good))[: int(number)]
for path in good:
    (pathlib.Path(os.environ["OUT"]) / path.name).symlink_to(path.resolve())
PY
    "target/$profile/edge-vae-train" fit "$model.frames" --out "$model" --seed "$seed" "$@" 2> "$model.log"
    "target/$profile/edge-vae" evaluate --model "$model" "$dataset" --json > "$model.json" 2>> "$model.log"
    NUMBER=$number REPORT=$model.json python3 - <<'PY'
import json, os
report = json.load(open(os.environ["REPORT"]))
keys = ["image_AUROC", "image_AP", "pixel_AUROC", "pixel_AUPRO"]
figures = "   ".join(f"{key} {100 * report[key]:5.1f}" for key in keys if key in report)
alarms = report["false_alarms"]
print(f"{os.environ['NUMBER']:>5} normal frames:   {figures}   "
      f"false alarms {alarms['count']}/{alarms['frames']} "
      + (f"at {alarms['target']:.3f}" if alarms["guaranteed"] else "without a guarantee"), flush=True)
PY
done
