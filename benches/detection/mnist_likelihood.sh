#!/usr/bin/env bash
# The likelihood of MNIST: trains the 28×28 model on dynamically binarised digits and prints the
# importance-weighted bound with 5000 samples on test digits (Burda et al. 2016).
#
#   benches/detection/mnist_likelihood.sh ../shared/data/mnist [LIMIT]
#
# LIMIT test digits are drawn by the seed (default 1000; all 10,000 take hours).
set -euo pipefail
dataset=${1:?usage: $0 DATASET [LIMIT]}
limit=${2:-1000}
cd "$(dirname "$0")/../.."
profile=${PROFILE:-release}
out=target/bench-digits
rm -rf "$out" "$out.training"
"target/$profile/edge-vae-train" fit "$dataset" --preset 28x28 --likelihood bernoulli --out "$out" --seed 1
"target/$profile/edge-vae" likelihood --model "$out" "$dataset" --samples 5000 --limit "$limit" --seed 1
