#!/usr/bin/env python3
"""What a change of the camera costs: the test part of a data set is changed as a line changes its
pictures (light, lens, sensor, codec, place), and a model that knows nothing of it judges it.

    benches/detection/robustness.py MODEL DATASET [--edge-vae target/release/edge-vae]
        [--normal N] [--defects N] [--window 20] [--changes NAME...] [--seed 1]

DATASET has the layout test/<kind>/*, test/good/*. Needs Pillow, numpy, scipy. Normal frames go
through `watch`, which looks for drift in windows of as many frames as --window says: two windows
have to agree. Prints, change by change: image AUROC and its loss, false alarms at the calibrated
threshold, normal frames that `watch` calls invalid and why, and whether drift is told, after which
normal frame, how many of the frames before were false alarms, and how it is explained."""

import argparse
import io
import json
import pathlib
import subprocess
import tempfile

import numpy as np
from PIL import Image
from scipy.ndimage import affine_transform, gaussian_filter, shift
from scipy.stats import rankdata


def planes(change):
    """Applies a change of one plane to each channel."""
    return lambda x, r: np.stack([change(x[..., c], r) for c in range(x.shape[-1])], -1)


def jpeg(x, _):
    buffer = io.BytesIO()
    picture(x).save(buffer, "JPEG", quality=50)
    return array(Image.open(buffer))


def places(x):
    """Coordinates of all pixels, −½ to ½ from top to bottom and from left to right."""
    height, width = x.shape[:2]
    return np.mgrid[0:height, 0:width] / np.array([height, width])[:, None, None] - 0.5


def gradient(x, _):
    """Light from the side: ±25 % from edge to edge."""
    return x * (1 + 0.5 * places(x)[1])[..., None]


def shadow(x, _):
    """A third of the frame gets 40 % less light, with a soft edge across."""
    v, u = places(x)
    return x * (1 - 0.4 / (1 + np.exp(-(u + 0.3 * v - 0.2) / 0.04)))[..., None]


def warmer(x, _):
    """A lamp of lower colour temperature; grey frames have no colour to change."""
    return x * np.array([1.12, 1, 0.85]) if x.shape[-1] == 3 else x


def dirt(x, _):
    """Soft blobs on the lens, the same ones in all frames, that take up to a quarter of the light."""
    v, u = places(x)
    spots = np.random.default_rng(0).uniform((-0.45, -0.45, 0.02), (0.45, 0.45, 0.06), (6, 3))
    cover = [np.exp(-((v - a) ** 2 + (u - b) ** 2) / (2 * size**2)) for a, b, size in spots]
    return x * (1 - 0.25 * np.max(cover, axis=0))[..., None]


def placed(matrix):
    """The camera's picture of the same plane seen from elsewhere, about its middle."""

    def change(plane, _):
        middle = (np.array(plane.shape) - 1) / 2
        return affine_transform(plane, matrix, middle - matrix @ middle, order=1, mode="nearest")

    return planes(change)


def rotation(degrees):
    a = np.deg2rad(degrees)
    return np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])


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
    "light gradient": gradient,
    "soft shadow": shadow,
    "warmer light": warmer,
    "lens dirt": dirt,
    "blur σ 1": planes(lambda p, r: gaussian_filter(p, 1, mode="nearest")),
    "noise σ 0.02": lambda x, r: x + 0.02 * 255 * r.standard_normal(x.shape),
    "JPEG quality 50": jpeg,
    "shift 2 pixels": planes(lambda p, r: shift(p, (2, -2), order=0, mode="nearest")),
    "rotation +2°": placed(rotation(2)),
    "rotation -2°": placed(rotation(-2)),
    "zoom 2 %": placed(np.eye(2) / 1.02),
}


def auroc(normal, defects):
    """P(a defect scores higher than a normal frame), a tie counting half."""
    ranks = rankdata(np.concatenate([normal, defects]))[len(normal) :]
    above = ranks.sum() - len(defects) * (len(defects) + 1) / 2
    return above / (len(normal) * len(defects))


def lines(command):
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in ran.stdout.splitlines()]


def scores(frames):
    return np.array([f["pred_score"] for f in frames if f["pred_label"] != "invalid"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("dataset", type=pathlib.Path)
    parser.add_argument("--edge-vae", default="target/release/edge-vae")
    parser.add_argument("--normal", type=int, help="normal frames to take; all by default")
    parser.add_argument("--defects", type=int, help="defective frames to take; all by default")
    parser.add_argument("--window", type=int, default=20, help="frames that drift is looked for in")
    parser.add_argument("--changes", nargs="+", choices=list(CHANGES), default=list(CHANGES))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    def drawn(paths, number):
        paths = sorted(p for p in paths if p.is_file())
        order = np.random.default_rng(options.seed).permutation(len(paths))[:number]
        return [paths[place] for place in order]

    test = options.dataset / "test"
    good = drawn((test / "good").glob("*"), options.normal)
    bad = drawn((p for p in test.rglob("*") if p.parent.name != "good"), options.defects)
    print(f"{len(good)} normal frames, {len(bad)} defective ones, drift in {options.window} frames")
    base = None
    for name in dict.fromkeys(["unchanged", *options.changes]):
        random = np.random.default_rng(options.seed)
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            for side, paths in ("good", good), ("bad", bad):
                (folder / side).mkdir()
                for number, path in enumerate(paths):
                    changed = picture(CHANGES[name](array(Image.open(path)), random))
                    changed.save(folder / side / f"{number:05}.png", compress_level=1)
            config = folder / "watch.toml"
            config.write_text(
                f"model = {json.dumps(str(options.model.resolve()))}\n"
                f"[drift]\nwindow = {options.window}\n"
                f'[[source]]\nuri = {json.dumps(str(folder / "good") + "?watch=false")}\n'
            )
            program = [options.edge_vae, "--quiet"]
            seen = lines([*program, "watch", "--config", config, "--json"])
            score = [*program, "score", "--model", options.model, "--json"]
            found = lines([*score, folder / "bad"])
            frames = [line for line in seen if line["type"] == "frame"]
            bad_health = [f["reasons"][0] for f in frames if f["pred_label"] == "invalid"]
            # `score` has no health to watch: it scores what `watch` calls invalid.
            normal = lines([*score, folder / "good"]) if bad_health else frames
        value = 100 * auroc(scores(normal), scores(found))
        base = value if base is None else base
        alarms = [f["pred_label"] == "anomalous" for f in frames]
        drift = "no drift"
        for place, line in enumerate(seen):
            if line["type"] == "drift" and line["drifted"]:
                before = [f["pred_label"] for f in seen[:place] if f["type"] == "frame"]
                wrong = before.count("anomalous")
                drift = f"drift after {len(before)} ({wrong} alarms): {line['explanation']}"
                break
        if bad_health:
            drift += f"; invalid: {bad_health[0]}"
        print(
            f"{name:16} AUROC {value:5.1f}  loss {base - value:5.1f}  "
            f"false alarms {100 * np.mean(alarms):5.1f} %  "
            f"invalid {100 * len(bad_health) / len(frames):5.1f} %  {drift}",
            flush=True,
        )


if __name__ == "__main__":
    main()
