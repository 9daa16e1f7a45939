#!/usr/bin/env python3
"""Random masks on real topologies: is the pruned model exact, and what could not be cut?

Makes networks with torch and torchvision, exports them with torch's two exporters, masks random
filters of every layer, runs onnx-bnnprune, and compares with references made without it. Needs
scripts/requirements.txt and requirements.txt beside this file, and a release build of the tool.

    scripts/topologies/run.py --out table.md
    scripts/topologies/run.py --only resnet18 --exporter dynamo --removal fold --out table.md

Exit code 1 if any trial was not exact or failed.
"""

import argparse
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).resolve().parent))

import onnx  # noqa: E402
import torch  # noqa: E402

import exporters  # noqa: E402
import runtime  # noqa: E402
import table  # noqa: E402
import trial as trials  # noqa: E402
from networks import NETWORKS, TIMED, Network, build  # noqa: E402

SEED = 2019
# `--round-to` of the timed networks.
ROUNDED = (1, 16)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser.add_argument("--only", action="append", choices=NETWORKS, help="repeatable")
    parser.add_argument("--exporter", choices=exporters.EXPORTERS, help="default: both")
    parser.add_argument("--removal", choices=trials.REMOVALS, help="default: both")
    parser.add_argument("--residual", choices=trials.RESIDUALS, help="default: both")
    parser.add_argument("--share", type=float, action="append", help="default: 0.15, 0.4, 0.7")
    parser.add_argument("--jobs", type=int, default=1, help="files at a time")
    parser.add_argument("--out", type=Path, required=True, metavar="TABLE.md")
    timed = parser.add_mutually_exclusive_group()
    timed.add_argument("--no-latency", action="store_true", help="leave out the timed networks")
    timed.add_argument("--latency-only", action="store_true", help="the timed networks alone")
    parser.add_argument("--work", type=Path, help="keep models here, and reuse exports found here")
    parser.add_argument("--binary", type=Path, default=target / "release" / "onnx-bnnprune")
    parser.add_argument("--ort-lib", type=Path, help="handed to the tool")
    return parser.parse_args()


def exported(network: Network, name: str, exporter: str, work: Path) -> Path:
    """The network's file, made unless it is there."""
    path = work / f"{name}-{exporter}.onnx"
    if not path.exists():
        part = path.with_suffix(".part")
        exporters.export(build(network, SEED), network.size, exporter, part)
        part.rename(path)
    return path


def case(
    tool: trials.Tool, name: str, exporter: str, work: Path, plan: trials.Plan
) -> list[trials.Trial]:
    """All trials of one network from one exporter."""
    torch.set_num_threads(1)
    try:
        path = exported(NETWORKS[name], name, exporter, work)
    except Exception as error:  # noqa: BLE001 - any failure is a row of the table
        described = trials.described(error)
        return [trials.Trial(name, exporter, "-", "-", 0.0, error=f"export: {described}")]
    return list(trials.trials(tool, path, name, exporter, work, plan))


def latency(tool: trials.Tool, work: Path) -> list[tuple]:
    """Rows of the latency table."""
    rows = []
    for name, network in TIMED.items():
        path = exported(network, f"{name}-timed", "torchscript", work)
        for round_to in ROUNDED:
            plan = trials.Plan(
                removals=("drop",), residuals=("coupled",), samples=2, round_to=round_to
            )
            for found in trials.trials(tool, path, f"{name}-timed", "torchscript", work, plan):
                stem = f"{path.stem}_drop_coupled_{round(100 * found.share)}"
                models = [onnx.load(path), onnx.load(work / f"{stem}.pruned.onnx")]
                before, after = runtime.latency(models)
                rows.append((name, found, before, after))
    return rows


def main() -> int:
    """Runs what was asked for; the exit code."""
    args = arguments()
    if not args.binary.exists():
        sys.exit(f"{args.binary}: not found; build it with `cargo build --release`")
    options = ["--threads", "1", *(["--ort-lib", str(args.ort_lib)] if args.ort_lib else [])]
    tool = trials.Tool(args.binary, options)
    plan = trials.Plan(
        shares=tuple(args.share or trials.SHARES),
        removals=(args.removal,) if args.removal else trials.REMOVALS,
        residuals=(args.residual,) if args.residual else trials.RESIDUALS,
    )
    used = [args.exporter] if args.exporter else exporters.EXPORTERS
    names = [] if args.latency_only else args.only or NETWORKS
    cases = [(name, exporter) for name in names for exporter in used]
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        done: dict[tuple[str, str], list[trials.Trial]] = {}
        with ProcessPoolExecutor(args.jobs) as pool:
            running = {pool.submit(case, tool, *key, work, plan): key for key in cases}
            for future in as_completed(running):
                key = running[future]
                done[key] = future.result()
                _announce(key, done[key])
        rows = [] if args.no_latency else latency(tool, work)
    found = [trial for key in cases for trial in done[key]]
    command = _command(sys.argv[1:])
    if args.latency_only:
        args.out.write_text(table.render_latency(rows, command))
    else:
        args.out.write_text(table.render(found, rows, command))
    bad = [trial for trial in found if not trial.exact]
    print(f"{len(found)} trials, {len(bad)} not exact; {args.out}")
    return 1 if bad or not all(found.exact for _, found, *_ in rows) else 0


def _command(given: list[str]) -> str:
    """The command as others would type it: without the folders of this machine."""
    left = iter(given)
    words = ["scripts/topologies/run.py"]
    for word in left:
        if word in ("--work", "--binary", "--ort-lib", "--out"):
            value = next(left, "")
            words += [word, Path(value).name] if word == "--out" else []
        else:
            words.append(word)
    return " ".join(words)


def _announce(key: tuple[str, str], found: list[trials.Trial]) -> None:
    """A line of progress."""
    removed, masked = sum(t.removed for t in found), sum(t.masked for t in found)
    bad = [trial.error for trial in found if not trial.exact]
    verdict = f"NOT EXACT in {len(bad)} of {len(found)}: {bad[0]}" if bad else "exact"
    print(f"{key[0]:22}{key[1]:12}{removed:6} of {masked:6} removed  {verdict}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
