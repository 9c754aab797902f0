#!/usr/bin/env python3
"""What defective frames among the training frames cost, and whether `fit` names them.

    benches/detection/contamination.py [DATASET…] [--shares 0 0.01 0.05 0.1] [--seeds 1 2 3]
        [--programs target/release] [--work target/contamination] [--no-review] [FLAGS OF fit…]
    benches/detection/contamination.py ../shared/data/mtd --minutes 30

DATASET has the layout train/good, test/good, test/<kind>. Without one, rings, screws and cloth are
drawn (procedural_sets.py, needs Pillow, numpy, scipy), and ../shared/data/mtd is taken where it is.

Half of the defective test frames may be planted, the other half is evaluated, the same for every
share. The number of training frames stays: planted ones replace good ones. A line for each fit:

    AUROC    image AUROC on the half that is evaluated, and its loss against a share of 0
    false    false alarms on fresh normal frames (test/good), with 95 % intervals, and the rate that
             the calibration guarantees
    missed   share of the evaluated defects below the threshold
    top k    planted frames among the k that rank highest, where k were planted
    named    frames that `fit` names as suspicious: planted ones of all

A line `reviewed` follows: the same after --exclude of the planted frames that were named or among
the top k, as a person would do on the page of `edge-vae-train review`."""

import argparse
import json
import pathlib
import random
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PLANTED = "planted-"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", type=pathlib.Path, nargs="*")
    parser.add_argument("--shares", type=float, nargs="+", default=[0, 0.01, 0.05, 0.1])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--programs", type=pathlib.Path, default=pathlib.Path("target/release"))
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("target/contamination"))
    parser.add_argument("--no-review", action="store_true", help="no second fit after a review")
    options, flags = parser.parse_known_args()
    print(
        f"{'set':10} share seed  {'':8} {'AUROC':>6} {'loss':>6}  {'false alarms':24} guaranteed  "
        f"missed  top k    named"
    )
    for dataset in options.datasets or usual(options.work):
        for seed in options.seeds:
            clean = None
            for share in options.shares:
                folder = options.work / f"{dataset.name}-{share:g}-{seed}"
                shutil.rmtree(folder, ignore_errors=True)
                planted = plant(dataset, folder, share, seed)
                run = Run(options.programs.resolve(), folder, seed, flags)
                first = run.fit("model", planted)
                clean = first.auroc if share == 0 else clean
                first.print(dataset.name, share, seed, "", clean)
                if first.found and not options.no_review:
                    exclude = folder / "exclude.txt"
                    exclude.write_text("".join(f"{name}\n" for name in first.found))
                    again = run.fit("reviewed", planted - len(first.found), exclude)
                    again.print(dataset.name, share, seed, "reviewed", clean)


def usual(work):
    """The sets where none is named."""
    drawn = work / "sets"
    names = ["rings", "screws", "cloth"]
    missing = [name for name in names if not (drawn / name).exists()]
    if missing:
        script = HERE / "procedural_sets.py"
        subprocess.run(
            [sys.executable, script, drawn, "--sets", *missing], check=True, stdout=subprocess.DEVNULL
        )
    tiles = pathlib.Path("../shared/data/mtd")
    return [drawn / name for name in names] + ([tiles] if tiles.exists() else [])


def files(folder):
    return sorted(path.resolve() for path in folder.iterdir() if path.is_file())


def plant(dataset, folder, share, seed):
    """Makes the training and test frames of one share, as links: how many were planted."""
    drawn = random.Random(seed)
    good = files(dataset / "train/good")
    kinds = sorted(path for path in (dataset / "test").iterdir() if path.is_dir())
    defective = [(kind.name, path) for kind in kinds if kind.name != "good" for path in files(kind)]
    drawn.shuffle(defective)
    drawn.shuffle(good)
    pool, evaluated = defective[: len(defective) // 2], defective[len(defective) // 2 :]
    planted = round(share * len(good))
    if planted > len(pool):
        sys.exit(f"{dataset}: {planted} defective frames are to be planted, and {len(pool)} are there")
    for number, (_, path) in enumerate(pool[:planted]):
        link(folder / f"frames/train/good/{PLANTED}{number:04}{path.suffix}", path)
    for path in good[planted:]:
        link(folder / "frames/train/good" / path.name, path)
    for path in files(dataset / "test/good"):
        link(folder / "frames/test/good" / path.name, path)
    for kind, path in evaluated:
        link(folder / "frames/test" / kind / path.name, path)
    return planted


def link(place, target):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


class Run:
    """Fits of one training folder."""

    def __init__(self, programs, folder, seed, flags):
        self.programs, self.folder, self.seed, self.flags = programs, folder, seed, flags

    def fit(self, name, planted, exclude=None):
        model, frames = self.folder / name, self.folder / "frames"
        more = ["--exclude", exclude] if exclude else []
        fitted = call(
            [self.programs / "edge-vae-train", "fit", frames, "--out", model, "--json"]
            + ["--seed", str(self.seed), *more, *self.flags]
        )
        evaluated = call(
            [self.programs / "edge-vae", "evaluate", "--model", model, frames, "--json", "--bootstrap", "0"]
        )
        ranking = json.loads((self.folder / f"{name}.training/training-frames.json").read_text())
        return Result(planted, fitted, evaluated, ranking["frames"])


def call(command):
    ran = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if ran.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{ran.stderr}")
    return json.loads(ran.stdout)


class Result:
    """What came of a fit."""

    def __init__(self, planted, fitted, evaluated, ranked):
        is_planted = lambda frame: pathlib.PurePosixPath(frame["frame"]).name.startswith(PLANTED)
        top = [frame for frame in ranked[:planted] if is_planted(frame)]
        named = [frame for frame in ranked if frame["suspicious"]]
        named_planted = [frame for frame in named if is_planted(frame)]
        self.auroc = 100 * evaluated["image_AUROC"]
        self.false, self.misses = evaluated["false_alarms"], evaluated["misses"]
        self.guaranteed = fitted["false_alarm_rate"]
        # Only frames out of fold or held out have a rank.
        ranked_planted = sum(map(is_planted, ranked))
        self.top = f"{len(top)}/{planted}" + ("" if ranked_planted == planted else f" ({ranked_planted} ranked)")
        self.named = f"{len(named_planted)}/{len(named)}"
        self.found = sorted({frame["frame"] for frame in top + named_planted})

    def print(self, dataset, share, seed, stage, clean):
        loss = "-" if clean is None else f"{clean - self.auroc:.1f}"
        lower, upper = (100 * end for end in self.false["interval"])
        false = f"{100 * self.false['rate']:.1f} % ({lower:.1f}–{upper:.1f})"
        print(
            f"{dataset:10} {share:5.0%} {seed:4}  {stage:8} {self.auroc:6.1f} {loss:>6}  {false:24} "
            f"{self.guaranteed:10.1%}  {self.misses['rate']:6.1%}  {self.top:7}  {self.named}",
            flush=True,
        )


if __name__ == "__main__":
    main()
