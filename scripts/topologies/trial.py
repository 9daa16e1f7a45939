"""One trial: a model, masks, a way of removal; the tool's files against their references."""

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

import compare
import masks as masking
import reference
import runtime

SHARES = (0.15, 0.4, 0.7)
REMOVALS = ("fold", "drop")
RESIDUALS = ("coupled", "scatter")


@dataclass
class Trial:
    """A row of the table."""

    network: str
    exporter: str
    removal: str
    residual: str
    share: float
    round_to: int = 1
    masked: int = 0
    removed: int = 0
    free_masked: int = 0
    free_removed: int = 0
    macs: tuple[int, int] = (0, 0)
    bytes: tuple[int, int] = (0, 0)
    difference: float = 0.0
    ties: int = 0
    # Layers that `drop` had to mask as `fold` does.
    as_fold: int = 0
    seconds: float = 0.0
    exact: bool = False
    error: str = ""
    # What stayed: (reason, whether the layer is alone in its group) to a list of layers.
    stayed: list[tuple[str, bool, str, int]] = field(default_factory=list)


def first_line(text: str) -> str:
    """The first line of a message, short enough for a table."""
    return (text.strip().splitlines() or [""])[0][:240].replace("|", "/")


class Tool:
    """The binary, with the options that every run gets."""

    def __init__(self, binary: Path, options: list[str]):
        self.binary, self.options = binary, options

    def prune(self, model: Path, masks: Path, trial: Trial, stem: Path) -> dict:
        """Runs the main job with a masks file; the report. Files are `stem` plus a suffix."""
        report = Path(f"{stem}.json")
        command = [
            self.binary, model, Path(f"{stem}.pruned.onnx"), "--masks", masks,
            "--removal", trial.removal, "--residual", trial.residual,
            "--round-to", trial.round_to, "--report", report, "--quiet",
            "--save-masked", Path(f"{stem}.masked.onnx"), *self.options,
        ]  # fmt: skip
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"exit code {done.returncode}: {first_line(done.stderr)}")
        return json.loads(report.read_text())


@dataclass(frozen=True)
class Plan:
    """Which trials of one file to run."""

    shares: tuple[float, ...] = SHARES
    removals: tuple[str, ...] = REMOVALS
    residuals: tuple[str, ...] = RESIDUALS
    samples: int = 8
    # Filters of a layer stay a multiple of this.
    round_to: int = 1
    # Mask layers that write into the model's outputs as well.
    outputs_too: bool = False


class Subject:
    """A file on trial, with what all of its trials share."""

    def __init__(self, tool: Tool, path: Path, plan: Plan):
        self.tool, self.path = tool, path
        self.model = onnx.load(path)
        self.inspected = masking.inspect(tool.binary, path, self.model, plan.outputs_too)
        self.feed = runtime.inputs(self.model, plan.samples, seed=7)
        self.plain = runtime.outputs(self.model, self.feed)


def trials(
    tool: Tool, path: Path, network: str, exporter: str, work: Path, plan: Plan
) -> Iterator[Trial]:
    """All trials of one file; a failing one is a row with its error."""
    try:
        subject = Subject(tool, path, plan)
    except Exception as error:  # noqa: BLE001 - any failure is a row of the table
        yield Trial(network, exporter, "-", "-", 0.0, error=described(error))
        return
    for share in plan.shares:
        drawn = masking.draw(subject.inspected.filters, share, network)
        for removal in plan.removals:
            for residual in plan.residuals:
                trial = Trial(network, exporter, removal, residual, share, plan.round_to)
                stem = work / f"{path.stem}_{removal}_{residual}_{round(100 * share)}"
                try:
                    _run(trial, subject, drawn, stem)
                except Exception as error:  # noqa: BLE001
                    trial.error = described(error)
                yield trial


def described(error: Exception) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {first_line(str(error))}"


def _run(trial: Trial, subject: Subject, drawn: masking.Masks, stem: Path) -> None:
    model, feed = subject.model, subject.feed
    masks_file = Path(f"{stem}.masks.json")
    masking.save(drawn, subject.inspected.filters, masks_file)
    start = time.perf_counter()
    report = subject.tool.prune(subject.path, masks_file, trial, stem)
    trial.seconds = time.perf_counter() - start
    _count(trial, report, drawn, subject.inspected.free)

    masked = onnx.load(Path(f"{stem}.masked.onnx"))
    pruned_path = Path(f"{stem}.pruned.onnx")
    onnx.checker.check_model(pruned_path, full_check=True)
    pruned = onnx.load(pruned_path)
    # What the tool masked as in `fold`, because no columns can be dropped, has no drop reference.
    trial.as_fold = sum("masked as in 'fold'" in line for line in report["details"])
    folded = reference.fold(model, drawn)
    if trial.removal == "fold":
        pairs = [("pruned and reference", folded, pruned)]
    else:
        pairs = [("pruned and masked", masked, pruned)]
        if not trial.as_fold:
            dropped = reference.drop(model, drawn, feed)
            pairs.append(("masked and reference", dropped, masked))
    if drawn and _same(subject.plain, runtime.outputs(folded, feed)):
        raise RuntimeError("the masks do not move the output: this tests nothing")
    trial.exact = True
    for what, want, got in pairs:
        found = compare.agree(want, got, feed)
        trial.difference = max(trial.difference, found.difference)
        trial.ties += found.ties
        if not found.exact:
            trial.exact = False
            trial.error = f"{what} differ by {found.difference:.2e} in {found.apart} samples"


def _same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def _count(trial: Trial, report: dict, drawn: masking.Masks, free: set[str]) -> None:
    """What the report says was masked and removed, and what stayed."""
    for layer in report["layers"]:
        name = layer["name"]
        wanted, gone = set(drawn.get(name, [])), set(layer["pruned"])
        trial.masked += len(wanted)
        trial.removed += len(wanted & gone)
        if name in free:
            trial.free_masked += len(wanted)
            trial.free_removed += len(wanted & gone)
        if left := len(wanted - gone):
            reason = layer["reason"] or "(no reason given)"
            trial.stayed.append((reason, name in free, name, left))
    totals = report["totals"]
    trial.macs = (totals["macs_before"], totals["macs_after"])
    trial.bytes = (report["input"]["bytes"], report["output"]["bytes"])
