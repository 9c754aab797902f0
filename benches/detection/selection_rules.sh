#!/usr/bin/env bash
# Fits and evaluates data sets of different kinds, one seed after the other, and prints what was
# selected and how well it does: once for each trainer, so that two sets of selection rules can be
# set against each other.
#
#   benches/detection/selection_rules.sh OUT TRAINER… [-- FLAGS OF fit…]
#   benches/detection/selection_rules.sh target/rules old/edge-vae-train \
#       target/release/edge-vae-train -- --minutes 5
#
# A TRAINER is a path of `edge-vae-train`; the `edge-vae` beside it evaluates. SETS names the folders
# that are fitted (MVTec AD layout); without it rings, screws and boards are drawn by
# procedural_sets.py into OUT/sets, and the magnetic tiles of ../shared/data/mtd are added where they
# are. SEEDS is "1 2" unless it is set. Results stay in OUT/RULES/SET-SEED{,.log,.json}, where RULES
# counts the trainers from 1.
set -euo pipefail
out=${1:?usage: $0 OUT TRAINER… [-- FLAGS OF fit…]}
shift
trainers=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    trainers+=("$1")
    shift
done
[ "${1:-}" = -- ] && shift
[ ${#trainers[@]} -gt 0 ] || { echo "$0: name at least one edge-vae-train" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
seeds=${SEEDS:-"1 2"}
mkdir -p "$out"
if [ -z "${SETS:-}" ]; then
    kinds="rings screws boards"
    [ -d "$out/sets" ] || python3 "$here/procedural_sets.py" "$out/sets" --sets $kinds
    SETS=$(for kind in $kinds; do echo "$out/sets/$kind"; done)
    tiles=$here/../../../shared/data/mtd
    [ ! -d "$tiles" ] || SETS="$SETS $tiles"
fi
rules=0
for trainer in "${trainers[@]}"; do
    rules=$((rules + 1))
    mkdir -p "$out/$rules"
    for set in $SETS; do
        for seed in $seeds; do
            model=$out/$rules/$(basename "$set")-$seed
            [ ! -s "$model.json" ] || continue
            rm -rf "$model" "$model.training"
            "$trainer" fit "$set" --out "$model" --seed "$seed" "$@" 2> "$model.log"
            "$(dirname "$trainer")/edge-vae" evaluate --model "$model" "$set" --json > "$model.json"
        done
    done
done
python3 - "$out" "$rules" "$seeds" $SETS <<'PY'
import json, os, re, statistics, sys
out, rules, seeds = sys.argv[1], int(sys.argv[2]), sys.argv[3].split()
keys = ["image_AUROC", "pixel_AUROC", "pixel_AUPRO"]
print("| set | rules | " + " | ".join(keys) + " | selected: score; map |")
print("|---" * (3 + len(keys)) + "|")
for folder in sys.argv[4:]:
    name = os.path.basename(folder.rstrip("/"))
    for number in range(1, rules + 1):
        stems = [f"{out}/{number}/{name}-{seed}" for seed in seeds]
        reports = [json.load(open(stem + ".json")) for stem in stems]
        cells = []
        for key in keys:
            values = [100 * report[key] for report in reports if key in report]
            each = f"{statistics.mean(values):.1f}" if values else "–"
            spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            cells.append(each + spread)
        selected = set()
        for stem in stems:
            marked = re.findall(r"%\s+(\S.*?)\s+<- (?:chosen|selected)", open(stem + ".log").read())
            selected.add("; ".join(marked[-2:]))
        print(f"| {name} | {number} | " + " | ".join(cells) + f" | {' / '.join(sorted(selected))} |")
PY
