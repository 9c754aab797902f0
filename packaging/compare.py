#!/usr/bin/env python3
"""Holds the JSON lines of two runs of `score --json` against each other.

    packaging/compare.py NAME EXPECTED FOUND

Labels are equal; scores, p-values, maps' peaks differ by at most 1e-4, relative above 1: what a
change of a score may be before the changelog names it.
"""

import json
import sys

TOLERANCE = 1e-4
NUMBERS = ("pred_score", "threshold", "p_value", "map_max")


def lines(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def main():
    name, expected, found = sys.argv[1], lines(sys.argv[2]), lines(sys.argv[3])
    if not expected or len(expected) != len(found):
        sys.exit(f"{name}: {len(expected)} frames and {len(found)}")
    worst = 0.0
    for a, b in zip(expected, found):
        if a["path"] != b["path"] or a["pred_label"] != b["pred_label"]:
            sys.exit(f"{name}: {a['path']} {a['pred_label']}, {b['path']} {b['pred_label']}")
        for key in NUMBERS:
            if (a[key] is None) != (b[key] is None):
                sys.exit(f"{name}: {a['path']}: {key} {a[key]} and {b[key]}")
            if a[key] is not None:
                worst = max(worst, abs(a[key] - b[key]) / max(1.0, abs(a[key])))
    print(f"{name:44} {len(found):3} frames, largest difference {worst:.1e}")
    if worst > TOLERANCE:
        sys.exit(f"{name}: more than {TOLERANCE}")


if __name__ == "__main__":
    main()
