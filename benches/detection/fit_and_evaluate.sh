#!/usr/bin/env bash
# Trains on a data set with one seed after the other, evaluates each model on its test part, and
# prints mean and spread.
#
#   benches/detection/fit_and_evaluate.sh DATASET [SEEDS] [FLAGS OF fit…]
#   benches/detection/fit_and_evaluate.sh ../shared/data/mtd "1 2 3" --minutes 30
#
# Results stay in target/bench-detection/NAME-SEED{,.json}.
set -euo pipefail
dataset=${1:?usage: $0 DATASET [SEEDS] [FLAGS OF fit…]}
seeds=${2:-"1 2 3"}
shift $(($# < 2 ? $# : 2))
cd "$(dirname "$0")/../.."
profile=${PROFILE:-release}
out=target/bench-detection
name=$(basename "$dataset")
mkdir -p "$out"
for seed in $seeds; do
    model=$out/$name-$seed
    rm -rf "$model" "$model.training"
    "target/$profile/edge-vae-train" fit "$dataset" --out "$model" --seed "$seed" "$@"
    "target/$profile/edge-vae" evaluate --model "$model" "$dataset" --json > "$model.json"
done
python3 - "$out/$name" $seeds <<'PY'
import json, statistics, sys
stem, seeds = sys.argv[1], sys.argv[2:]
reports = [json.load(open(f"{stem}-{seed}.json")) for seed in seeds]
keys = ["image_AUROC", "image_AP", "image_F1Max", "pixel_AUROC", "pixel_AUPRO", "pixel_AUPRO_5"]
for key in keys:
    values = [100 * report[key] for report in reports if key in report]
    if values:
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        each = ", ".join(f"{value:.1f}" for value in values)
        print(f"{key:14} {statistics.mean(values):6.2f}{spread}   (seeds {' '.join(seeds)}: {each})")
PY
