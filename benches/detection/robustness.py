#!/usr/bin/env python3
"""What a change of the camera costs: the test part of a data set is changed as a line changes its
pictures (gain, blur, noise, JPEG, shift), and a model that knows nothing of it is evaluated on it.

    benches/detection/robustness.py MODEL DATASET [--edge-vae target/release/edge-vae] [--seed 1]

DATASET has the layout test/<kind>/*, test/good/*. Needs Pillow, numpy, scipy. Prints image AUROC,
its loss, and the false alarms at the calibrated threshold, change by change."""

import argparse
import io
import json
import pathlib
import subprocess
import tempfile

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, shift


def planes(change):
    """Applies a change of one plane to each channel."""
    return lambda x, r: np.stack([change(x[..., c], r) for c in range(x.shape[-1])], -1)


def jpeg(x, _):
    buffer = io.BytesIO()
    picture(x).save(buffer, "JPEG", quality=50)
    return array(Image.open(buffer))


def array(image):
    values = np.asarray(image.convert("L" if image.mode in ("L", "1", "I;16") else "RGB"), float)
    return values[..., None] if values.ndim == 2 else values


def picture(x):
    values = np.clip(np.round(x), 0, 255).astype(np.uint8)
    return Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)


# Pixels are those of the camera's picture, values 0–255.
CHANGES = {
    "unchanged": lambda x, r: x,
    "gain ×0.7": lambda x, r: 0.7 * x,
    "gain ×1.3": lambda x, r: 1.3 * x,
    "blur σ 1": planes(lambda p, r: gaussian_filter(p, 1, mode="nearest")),
    "noise σ 0.02": lambda x, r: x + 0.02 * 255 * r.standard_normal(x.shape),
    "JPEG quality 50": jpeg,
    "shift 2 pixels": planes(lambda p, r: shift(p, (2, -2), order=0, mode="nearest")),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("dataset", type=pathlib.Path)
    parser.add_argument("--edge-vae", default="target/release/edge-vae")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    test = options.dataset / "test"
    pictures = sorted(p for p in test.rglob("*") if p.is_file())
    base = None
    for name, change in CHANGES.items():
        random = np.random.default_rng(options.seed)
        with tempfile.TemporaryDirectory() as folder:
            for path in pictures:
                target = pathlib.Path(folder) / "test" / path.relative_to(test).with_suffix(".png")
                target.parent.mkdir(parents=True, exist_ok=True)
                picture(change(array(Image.open(path)), random)).save(target, compress_level=1)
            command = [options.edge_vae, "evaluate", "--model", options.model, folder, "--json"]
            report = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        auroc = 100 * report["image_AUROC"]
        base = auroc if base is None else base
        alarms = 100 * report["false_alarms"]["rate"]
        print(f"{name:16} AUROC {auroc:5.1f}  loss {base - auroc:5.1f}  false alarms {alarms:4.1f} %")


if __name__ == "__main__":
    main()
