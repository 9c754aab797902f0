#!/usr/bin/env bash
# The peers that `run.py` measures: a Python environment and a small program for rten, both below
# target/peers. Some 7 GB, most of it the CUDA libraries that PyPI's torch asks for.
set -euo pipefail
cd "$(dirname "$0")/../.."
python3 -m venv target/peers/venv
target/peers/venv/bin/pip install --quiet anomalib openvino onnxruntime onnx onnxscript
cargo build --release --manifest-path benches/peers/rten/Cargo.toml --target-dir target/peers/rten
echo "now: target/peers/venv/bin/python benches/peers/run.py"
