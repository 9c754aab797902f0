#!/usr/bin/env python3
"""What a calibration promises, and what fresh frames say: fits on N normal frames drawn from a folder,
once with the default calibration and once with held-out frames, and scores all others.

    benches/detection/false_alarms.py NORMALS [--numbers 30 100 400] [--seeds 1 2]
        [--programs target/release] [FLAGS OF fit…]
    benches/detection/false_alarms.py ../shared/data/mtd/train/good --steps 20 --score features

NORMALS is a folder of normal pictures. For each fit: the smallest rate that it promises, and the
share of fresh frames with a p-value of at most 1, 5 and 10 % (- where that is not promised)."""

import argparse
import json
import pathlib
import random
import subprocess
import tempfile
import tomllib

RATES = (0.01, 0.05, 0.1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("normals", type=pathlib.Path)
    parser.add_argument("--numbers", type=int, nargs="+", default=[30, 100, 400])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--programs", type=pathlib.Path, default=pathlib.Path("target/release"))
    arguments, flags = parser.parse_known_args()
    programs = arguments.programs.resolve()
    frames = sorted(path.resolve() for path in arguments.normals.iterdir() if path.is_file())
    print("frames  seed  calibration   least     " + "  ".join(f"{rate:7.0%}" for rate in RATES))
    for number in arguments.numbers:
        for seed in arguments.seeds:
            drawn = frames[:]
            random.Random(1000 * number + seed).shuffle(drawn)
            with tempfile.TemporaryDirectory() as scratch:
                scratch = pathlib.Path(scratch)
                good = scratch / "frames/train/good"
                good.mkdir(parents=True)
                for path in drawn[:number]:
                    (good / path.name).symlink_to(path)
                for calibration in ("auto", "held-out"):
                    values = fitted(programs, scratch, drawn[number:], seed, calibration, flags)
                    least = smallest(scratch / calibration)
                    found = [
                        f"{sum(value <= rate + 1e-12 for value in values) / len(values):7.2%}"
                        if rate >= least
                        else "      -"
                        for rate in RATES
                    ]
                    print(
                        f"{number:6}  {seed:4}  {calibration:11}  {least:6.2%}     " + "  ".join(found),
                        flush=True,
                    )


def smallest(model):
    """The smallest rate that a model can promise."""
    manifest = tomllib.loads((model / "manifest.toml").read_text())
    return 1 / (len(manifest["calibration"]["scores"]) + 1)


def fitted(programs, scratch, fresh, seed, calibration, flags):
    """The p-values of fresh frames."""
    model = scratch / calibration
    subprocess.run(
        [programs / "edge-vae-train", "fit", scratch / "frames", "--out", model]
        + ["--seed", str(seed), "--calibration", calibration, *flags],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    listed = subprocess.run(
        [programs / "edge-vae", "score", "--model", model, "--json", *fresh],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    values = [json.loads(line)["p_value"] for line in listed.stdout.splitlines()]
    return [value for value in values if value is not None]


if __name__ == "__main__":
    main()
