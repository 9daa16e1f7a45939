#!/usr/bin/env python3
"""Runs onnx-bnnprune against its controls over several seeds and prints a table.

For each seed: the learned masks; random masks of the same size per layer, retrained alike; no
pruning at all, retrained alike; learning with the regulariser switched off. --arms chooses. With
--work, what an interrupted call has finished is not run again.
Accuracies are those of ONNX Runtime from each run's report, on the images given with --val.
Needs nothing but Python's standard library.

    scripts/controls.py fixtures/digits_vgg.onnx --seeds 5 -- \
        --data fixtures/digits_train.npz --val fixtures/digits_test.npz
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Student's t at 97.5 % for n - 1 degrees of freedom.
T_VALUES = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def default_binary():
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "release" / "onnx-bnnprune"


def run(binary, model, folder, name, options):
    """Runs the tool once; its report, with the masks file's path under `masks`."""
    out, report, masks = (folder / f"{name}.{kind}" for kind in ("onnx", "json", "masks.json"))
    command = [binary, model, out, "--report", report, "--save-masks", masks, "--quiet", *options]
    words = " ".join(str(c) for c in command)
    finished = folder / f"{name}.command"
    if finished.exists() and finished.read_text() == words:
        found = json.loads(report.read_text())
        found["masks"] = masks
        return found
    start = time.time()
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{words}\nexit code {done.returncode}: {done.stderr.strip()}")
    found = json.loads(report.read_text())
    found["masks"] = masks
    finished.write_text(words)
    print(f"  {name}: {time.time() - start:.0f} s", file=sys.stderr)
    return found


ARMS = ["random", "unpruned", "alpha-zero"]


def runs_of(binary, model, folder, seed, options, arms):
    """The runs of one seed, by name; the learned one always."""
    seeded = [*options, "--seed", str(seed)]
    # With rules, --ratio would contradict --like, and options of masks have no effect.
    rule = seeded
    for name in ("--ratio", "--alpha", "--max-share", "--mask-epochs", "--mask-lr"):
        rule = without(rule, name)
    rule = [*rule, "--method", "random"]
    runs = {"learned": run(binary, model, folder, f"learned-{seed}", seeded)}
    extra = {
        "random": [*rule, "--like", runs["learned"]["masks"]],
        "unpruned": [*rule, "--ratio", "0"],
        "alpha-zero": [*seeded, "--alpha", "0"],
    }
    for arm in arms:
        runs[arm] = run(binary, model, folder, f"{arm}-{seed}", extra[arm])
    return runs


def without(options, name):
    """The options without `name` and its value."""
    skip = {i + k for i, o in enumerate(options) if o == name for k in (0, 1)}
    return [o for i, o in enumerate(options) if i not in skip]


def mean(values):
    return sum(values) / len(values)


def interval(values):
    """Half the width of the 95 % confidence interval of the mean."""
    n = len(values)
    if n < 2:
        return float("nan")
    m = mean(values)
    deviation = math.sqrt(sum((v - m) ** 2 for v in values) / (n - 1))
    return T_VALUES.get(n - 1, 1.96) * deviation / math.sqrt(n)


def stage_mean(report, key):
    # Layers that lost nothing have no random mask to be compared with.
    stages = [s for s in report["stages"] if s["random_after_masking"] is not None]
    values = [s[key] for s in stages if s[key] is not None]
    return mean(values) if values else float("nan")


def percent(value):
    return f"{value * 100:6.2f} %"


def table(seeds, results):
    names = list(results[seeds[0]])
    print(f"{'seed':<6}{'pruned':>9}{'masked:':>9}{'learned':>10}{'random':>10}{'after:':>9}", end="")
    print("".join(f"{n:>11}" for n in names) + f"{'before':>11}{'seconds':>9}")
    rows = []
    for seed in seeds:
        runs = results[seed]
        learned = runs["learned"]
        rows.append(
            [
                learned["totals"]["pruned_ratio"],
                stage_mean(learned, "after_masking"),
                stage_mean(learned, "random_after_masking"),
                *[runs[n]["accuracy"]["after"] for n in names],
                learned["accuracy"]["before"],
            ]
        )
        line(str(seed), rows[-1], f"{learned['seconds']:9.0f}")
    columns = list(zip(*rows))
    line("mean", [mean(c) for c in columns])
    line("± 95%", [interval(c) for c in columns])
    drop = [r[-1] - r[3] for r in rows]
    print(f"learned loses {mean(drop) * 100:+.2f} ± {interval(drop) * 100:.2f} points against the original")
    for arm in names[1:]:
        against = [r[3] - r[3 + names.index(arm)] for r in rows]
        print(f"gains {mean(against) * 100:+.2f} ± {interval(against) * 100:.2f} points against {arm}")
    if "alpha-zero" in names:
        ratios = [results[s]["alpha-zero"]["totals"]["pruned_ratio"] for s in seeds]
        print(f"with --alpha 0, {mean(ratios) * 100:.2f} ± {interval(ratios) * 100:.2f} % of the filters are pruned")
    samples = results[seeds[0]]["learned"]["accuracy"]["samples"]
    print(f"{samples} test images in ONNX Runtime")
    print("pruned per layer (learned, each seed):")
    for i, layer in enumerate(results[seeds[0]]["learned"]["layers"]):
        if layer["binary"]:
            shares = [results[s]["learned"]["layers"][i] for s in seeds]
            text = "  ".join(f"{len(x['pruned'])}/{x['filters']}" for x in shares)
            print(f"  {layer['name']:<32}{text}")


def line(name, values, tail=""):
    cells = [percent(v) for v in values]
    print(f"{name:<6}{cells[0]:>9}{'':>9}{cells[1]:>10}{cells[2]:>10}{'':>9}", end="")
    print("".join(f"{c:>11}" for c in cells[3:]) + tail)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 0 (default 5)")
    parser.add_argument("--arms", nargs="*", choices=ARMS, default=ARMS[:2], help="controls beside the learned masks (default: random unpruned)")
    parser.add_argument("--binary", type=Path, default=default_binary(), help="the tool's executable")
    parser.add_argument("--work", type=Path, help="keep every run's files here, and continue from them")
    parser.epilog = "What stands behind -- goes to onnx-bnnprune."
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    args, options = parser.parse_args(words[:split]), words[split + 1 :]
    seeds = list(range(args.seeds))
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.work or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        results = {
            seed: runs_of(args.binary, args.model, folder, seed, options, args.arms)
            for seed in seeds
        }
        table(seeds, results)


if __name__ == "__main__":
    main()
