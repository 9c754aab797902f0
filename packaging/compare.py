#!/usr/bin/env python3
"""Holds the JSON lines of two runs of `score --json` against each other.

    packaging/compare.py NAME BUNDLE EXPECTED FOUND

Labels and thresholds are equal; scores and peaks of maps differ by no more than the bundle's
`golden.map-tolerance`, relative above 1, which every engine is held to when it opens the bundle.
"""

import json
import sys
import tomllib
from pathlib import Path


def lines(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def main():
    name, bundle, expected, found = sys.argv[1:]
    manifest = tomllib.loads((Path(bundle) / "manifest.toml").read_text())
    tolerance = manifest["golden"]["map-tolerance"]
    expected, found = lines(expected), lines(found)
    if not expected or len(expected) != len(found):
        sys.exit(f"{name}: {len(expected)} frames and {len(found)}")
    worst = 0.0
    for a, b in zip(expected, found):
        for key in ("path", "pred_label", "threshold"):
            if a[key] != b[key]:
                sys.exit(f"{name}: {a['path']}: {key} {a[key]} and {b[key]}")
        for key in ("pred_score", "map_max"):
            if (a[key] is None) != (b[key] is None):
                sys.exit(f"{name}: {a['path']}: {key} {a[key]} and {b[key]}")
            if a[key] is not None:
                worst = max(worst, abs(a[key] - b[key]) / max(1.0, abs(a[key])))
    print(f"{name:44} {len(found):3} frames, largest difference {worst:.1e} of {tolerance}")
    if worst > tolerance:
        sys.exit(f"{name}: more than {tolerance}")


if __name__ == "__main__":
    main()
