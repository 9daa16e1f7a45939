#!/usr/bin/env python3
"""The same masks through onnx-bnnprune and qonnx's `qonnx-prune-channels`, side by side.

For each network 40 % of every layer's filters go, at random. Two references, made without either
tool: `drop`, in which a pruned channel contributes nothing to the next layer, and `fold`, in which
the layer's own output is 0 and what BatchNormalization and bias make of that is still sent on.
qonnx-prune-channels has no option for what it means, so what it writes is held against both.

    .venv-qonnx/bin/python scripts/qonnx_prune/compare.py

Needs requirements.txt beside this file in an environment of its own, and a release build of the
tool and of its example (`cargo build --release --bin onnx-bnnprune --example eliminate`). Seconds are
those of the whole command: for onnx-bnnprune with its verification in ONNX Runtime on 256 random
inputs, which is nearly all of it; `library` is the example, which verifies nothing, like qonnx, whose
clean-up, which it asks for first, is counted. Exit code 1 if onnx-bnnprune is not exact somewhere.
"""

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from onnx import numpy_helper  # noqa: E402

from networks import NETWORKS, Network, build  # noqa: E402

TOLERANCE = 1e-4
MEANINGS = ("drop", "fold")


@dataclass
class Result:
    """A row of the table; `verdicts` by meaning."""

    network: str
    tool: str
    seconds: float
    peak: int
    bytes: tuple[int, int]
    verdicts: dict[str, str]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser.add_argument("--only", action="append", choices=NETWORKS, help="repeatable")
    parser.add_argument("--binary", type=Path, default=target / "release" / "onnx-bnnprune")
    example = target / "release" / "examples" / "eliminate"
    parser.add_argument("--example", type=Path, default=example)
    return parser.parse_args()


# Run by an interpreter of its own: a process starts with its parent's peak, and this one's is high.
MEASURE = """
import os, sys, time
start = time.perf_counter()
child = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, used = os.wait4(child, 0)
with open(sys.argv[1], "w") as out:
    print(os.waitstatus_to_exitcode(status), time.perf_counter() - start, used.ru_maxrss, file=out)
"""


def timed(command: list[object], folder: Path) -> tuple[float, int, str]:
    """Runs a command: seconds, peak resident bytes, and its last words if it failed."""
    log, measured = folder / "log.txt", folder / "measured.txt"
    words = [sys.executable, "-c", MEASURE, measured, *command]
    with log.open("w") as out:
        subprocess.run([str(w) for w in words], stdout=out, stderr=out, cwd=folder, check=True)
    code, seconds, peak = measured.read_text().split()
    lines = log.read_text().strip().splitlines() or [""]
    return float(seconds), int(peak) << 10, lines[-1] if int(code) else ""


def outputs(model: onnx.ModelProto | Path, image: np.ndarray) -> list[np.ndarray]:
    """What ONNX Runtime computes, its optimiser off."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    given = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})


def verdict(reference: onnx.ModelProto, pruned: Path, image: np.ndarray) -> str:
    """`exact` with the difference, or what is wrong."""
    want = outputs(reference, image)[0]
    try:
        got = outputs(pruned, image)[0]
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's own exceptions, of many classes
        return f"does not run ({type(error).__name__})"
    if got.shape != want.shape:
        return f"shape {list(got.shape)} for {list(want.shape)}"
    apart = float(np.abs(got - want).max() / max(1.0, np.abs(want).max()))
    return f"exact ({apart:.0e})" if apart <= TOLERANCE else f"off by {apart:.0%}"


def library(example: Path, name: str, model: Path, image: np.ndarray) -> Result:
    """The tool's library with the masks file that `ours` wrote, without verification."""
    folder = model.parent
    pruned = folder / "library.onnx"
    command = [example.resolve(), model, folder / "masks.json", pruned]
    seconds, peak, failure = timed(command, folder)
    found = failure or verdict(build(name, "drop")[1], pruned, image)
    sizes = (model.stat().st_size, pruned.stat().st_size if pruned.exists() else 0)
    return Result(name, "onnx-bnnprune, library", seconds, peak, sizes, {"drop": found, "fold": "-"})


def ours(binary: Path, name: str, net: Network, model: Path, meaning: str, image: np.ndarray) -> Result:
    """onnx-bnnprune with a masks file."""
    folder = model.parent
    masks, pruned = folder / "masks.json", folder / f"{meaning}.onnx"
    layers = {
        layer: {"filters": net.filters[layer], "pruned": gone} for layer, gone in net.masks.items()
    }
    masks.write_text(json.dumps({"format": "onnx-bnnprune-masks/1", "layers": layers}))
    library = next((Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.*"))
    command = [
        binary.resolve(), model, pruned, "--masks", masks, "--removal", meaning,
        "--residual", "scatter", "--quiet", "--ort-lib", library,
    ]  # fmt: skip
    seconds, peak, failure = timed(command, folder)
    found = failure or verdict(build(name, meaning)[1], pruned, image)
    size = pruned.stat().st_size if pruned.exists() else 0
    verdicts = {m: found if m == meaning else "-" for m in MEANINGS}
    sizes = (model.stat().st_size, size)
    return Result(name, f"onnx-bnnprune --removal {meaning}", seconds, peak, sizes, verdicts)


def theirs(name: str, net: Network, model: Path, image: np.ndarray) -> Result:
    """qonnx-cleanup and qonnx-prune-channels with a specification of the same filters."""
    folder, scripts = model.parent, Path(sysconfig.get_path("scripts"))
    clean, pruned = folder / "clean.onnx", folder / "qonnx.onnx"
    cleanup = [
        scripts / "qonnx-cleanup", model, f"--out-file={clean}", "--extract-conv-bias=True",
        "--preserve-qnt-ops=False",
    ]  # fmt: skip
    first, peak, failure = timed(cleanup, folder)
    seconds = first
    if not failure:
        specification = folder / "specification.txt"
        specification.write_text(repr(_specification(net, onnx.load(clean))))
        command = [
            scripts / "qonnx-prune-channels", clean, specification, f"--output-filename={pruned}"
        ]
        second, more, failure = timed(command, folder)
        seconds, peak = first + second, max(peak, more)
    sizes = (model.stat().st_size, pruned.stat().st_size if pruned.exists() else 0)
    verdicts = {m: failure or verdict(build(name, m)[1], pruned, image) for m in MEANINGS}
    return Result(name, "qonnx-prune-channels", seconds, peak, sizes, verdicts)


def _specification(net: Network, clean: onnx.ModelProto) -> dict[str, dict[int, set[int]]]:
    """The filters by weight tensor, whose names the clean-up has changed."""
    found = {}
    for tensor in clean.graph.initializer:
        value = numpy_helper.to_array(tensor)
        for layer, gone in net.masks.items():
            if np.array_equal(value, net.weights[f"{layer}.weight"]):
                found[tensor.name] = {0: set(gone)}
    if len(found) != len(net.masks):
        raise RuntimeError("qonnx-cleanup has changed weights: no specification can name them")
    return found


def rows(binary: Path, example: Path, name: str) -> list[Result]:
    """All rows of one network."""
    net, model = build(name)
    image = np.random.default_rng(7).standard_normal((1, *net.image)).astype(np.float32)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "model.onnx"
        onnx.save(model, path)
        found = [ours(binary, name, net, path, meaning, image) for meaning in MEANINGS]
        return [*found, library(example, name, path, image), theirs(name, net, path, image)]


def main() -> int:
    """Prints the table; the exit code."""
    args = arguments()
    for needed in (args.binary, args.example):
        if not needed.exists():
            sys.exit(f"{needed}: not found; --help says how to build it")
    print("| network | tool | s | peak MB | bytes | against `drop` | against `fold` |")
    print("|---|---|---|---|---|---|---|")
    good = True
    for name in args.only or NETWORKS:
        for row in rows(args.binary, args.example, name):
            before, after = row.bytes
            told = " | ".join(row.verdicts[m] for m in MEANINGS)
            print(f"| {row.network} | {row.tool} | {row.seconds:.2f} | {row.peak / 1e6:.0f} "
                  f"| {before:,} → {after:,} | {told} |", flush=True)  # fmt: skip
            if row.tool.startswith("onnx-bnnprune"):
                good &= all(v == "-" or v.startswith("exact") for v in row.verdicts.values())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
