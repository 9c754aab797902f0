#!/usr/bin/env bash
# One-class MNIST: each digit in turn is normal; trained on its training pictures, tested on all
# 10,000 test pictures. Prints the AUROC of each digit and their mean.
#
#   benches/detection/mnist_one_class.sh ../shared/data/mnist [FLAGS OF fit…]
#   DIGITS="3 8" benches/detection/mnist_one_class.sh ../shared/data/mnist --epochs 20
#
# Four epochs give the metrics of docs/experiments/2026-11-22-one-class-mnist.md: prototypes, which
# `auto` selects there, do not depend on how long the VAE is trained.
#
# Results stay in target/bench-mnist/DIGIT{,.json}.
set -euo pipefail
dataset=${1:?usage: $0 DATASET [FLAGS OF fit…]}
shift
cd "$(dirname "$0")/../.."
profile=${PROFILE:-release}
digits=${DIGITS:-"0 1 2 3 4 5 6 7 8 9"}
out=target/bench-mnist
mkdir -p "$out"
for digit in $digits; do
    model=$out/$digit
    rm -rf "$model" "$model.training"
    "target/$profile/edge-vae-train" fit "$dataset" --class "$digit" --out "$model" --seed 1 "$@"
    "target/$profile/edge-vae" evaluate --model "$model" "$dataset" --class "$digit" --json > "$model.json"
done
python3 - "$out" $digits <<'PY'
import json, sys
out, digits = sys.argv[1], sys.argv[2:]
values = [100 * json.load(open(f"{out}/{digit}.json"))["image_AUROC"] for digit in digits]
for digit, value in zip(digits, values):
    print(f"{digit}  {value:.2f}")
print(f"mean {sum(values) / len(values):.2f}")
PY
