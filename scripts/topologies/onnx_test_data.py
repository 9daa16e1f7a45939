#!/usr/bin/env python3
"""Random masks on the models in the Python package onnx's own test data.

Every file there with a Conv, ConvTranspose, Gemm or MatMul of constant weights goes through the
same trials as run.py's networks; those of an opset that the tool does not read (before 7) are
converted with onnx's converter first. The `light_*` networks ship without weights: one value for each
tensor. They get random ones here, else no mask would change anything, with BatchNormalization
statistics measured on random inputs: otherwise the signal fades from layer to layer until every
channel is the same for all inputs, up to rounding, and no experiment can tell which ones carry
something (`reference.drop`). What enters their last
Softmax is made an output as well, since a saturated Softmax would hide differences. Where the tool
lists no layer (a lone ConvTranspose) the file goes through without masks.

    scripts/topologies/onnx_test_data.py --out table.md

Exit code 1 if any trial was not exact or failed.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from onnx import numpy_helper, version_converter  # noqa: E402

import layers  # noqa: E402
import runtime  # noqa: E402
import table  # noqa: E402
import trial as trials  # noqa: E402

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
OLDEST = 7
CONVERTED = 13


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser.add_argument("--only", action="append", help="part of a path; repeatable")
    parser.add_argument("--out", type=Path, required=True, metavar="TABLE.md")
    parser.add_argument("--max-mib", type=int, default=4096, help="leave out larger networks")
    parser.add_argument("--binary", type=Path, default=target / "release" / "onnx-bnnprune")
    parser.add_argument("--ort-lib", type=Path, help="handed to the tool")
    return parser.parse_args()


def name_of(path: Path) -> str:
    """`light_vgg19`, or the folder of a `model.onnx`."""
    return path.parent.name if path.stem == "model" else path.stem


def subjects(only: list[str] | None) -> list[Path]:
    """The files with a layer in them."""
    found = []
    for path in sorted(DATA.rglob("*.onnx")):
        if only and not any(part in str(path) for part in only):
            continue
        if layers.sites(onnx.load(path)):
            found.append(path)
    return found


def prepared(path: Path) -> onnx.ModelProto:
    """The model at a supported opset, with weights."""
    model = onnx.load(path)
    opset = next(i.version for i in model.opset_import if i.domain in ("", "ai.onnx"))
    if opset < OLDEST:
        model = version_converter.convert_version(model, CONVERTED)
    if path.stem.startswith("light_"):
        _randomise(model, np.random.default_rng(5))
        _calibrate(model)
        _show_logits(model)
    return model


def _randomise(model: onnx.ModelProto, random: np.random.Generator) -> None:
    """Random initializers in place of every ConstantOfShape."""
    graph = model.graph
    shapes = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    readers: dict[str, tuple[onnx.NodeProto, int]] = {}
    for node in graph.node:
        for position, name in enumerate(node.input):
            readers.setdefault(name, (node, position))
    kept = []
    for node in graph.node:
        if node.op_type != "ConstantOfShape" or node.input[0] not in shapes:
            kept.append(node)
            continue
        shape = tuple(int(n) for n in shapes[node.input[0]])
        value = _parameter(*readers[node.output[0]], shape, random)
        graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)
    # From this version on an initializer need not be a graph input too.
    model.ir_version = max(model.ir_version, 4)


def _parameter(
    reader: onnx.NodeProto, position: int, shape: tuple[int, ...], random: np.random.Generator
) -> np.ndarray:
    """A value that suits what reads it."""
    normal = random.standard_normal(shape, np.float32)
    factor = random.uniform(0.5, 1.5, shape)
    match reader.op_type, position:
        case ("Conv" | "Gemm" | "MatMul"), 1:
            fan_in = int(np.prod(shape[1:])) if reader.op_type != "MatMul" else shape[0]
            value = normal * np.sqrt(2 / fan_in)
        case "BatchNormalization", 4:
            value = factor
        case ("BatchNormalization", 1) | ("Mul", _):
            value = factor * np.where(random.random(shape) < 0.25, -1, 1)
        case _:
            value = 0.2 * normal
    return np.asarray(value, np.float32)


def _calibrate(model: onnx.ModelProto) -> None:
    """Mean and variance of every BatchNormalization as random inputs give them, one node at a time."""
    graph, opsets = model.graph, model.opset_import
    stored = {t.name: t for t in graph.initializer}
    values = {name: numpy_helper.to_array(t) for name, t in stored.items()}
    values |= runtime.inputs(model, 4, seed=11)
    if batch := runtime.fixed_batch(model):
        values |= {i.name: values[i.name][:batch] for i in graph.input if i.name not in stored}
    last = {name: node.output[0] for node in graph.node for name in node.input}
    for node in graph.node:
        if node.op_type == "BatchNormalization":
            x = values[node.input[0]]
            axes = (0, *range(2, x.ndim))
            for name, value in zip(node.input[3:5], (x.mean(axes), x.var(axes) + 1e-3), strict=True):
                values[name] = value.astype(np.float32)
                stored[name].CopyFrom(numpy_helper.from_array(values[name], name))
        read = [name for name in dict.fromkeys(node.input) if name]
        infos = [
            onnx.helper.make_tensor_value_info(
                name, onnx.helper.np_dtype_to_tensor_dtype(values[name].dtype), values[name].shape
            )
            for name in read
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output[:1]]
        alone = onnx.helper.make_graph([node], "node", infos, outputs)
        one = onnx.helper.make_model(alone, opset_imports=opsets, ir_version=model.ir_version)
        feed = {name: values[name] for name in read}
        values[node.output[0]] = runtime.session(one).run(None, feed)[0]
        for name in read:
            if last[name] == node.output[0] and name not in stored:
                del values[name]


def _show_logits(model: onnx.ModelProto) -> None:
    """What enters the last Softmax becomes an output."""
    outputs = {output.name for output in model.graph.output}
    for node in model.graph.node:
        if node.op_type == "Softmax" and outputs.intersection(node.output):
            inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
            info = next((i for i in inferred if i.name == node.input[0]), None)
            model.graph.output.append(info or onnx.ValueInfoProto(name=node.input[0]))


def main() -> int:
    """Runs all files; the exit code."""
    args = arguments()
    tool = trials.Tool(args.binary, ["--ort-lib", str(args.ort_lib)] if args.ort_lib else [])
    found: list[trials.Trial] = []
    for path in subjects(args.only):
        name = name_of(path)
        light = path.stem.startswith("light_")
        plan = trials.Plan(
            shares=(0.4,) if light else trials.SHARES,
            residuals=("coupled", "scatter") if light else ("coupled",),
            samples=4,
            outputs_too=not light,
        )
        # A folder of its own, emptied at once: these files are large.
        with tempfile.TemporaryDirectory() as temporary:
            rows = _trials(tool, path, name, Path(temporary), plan, args.max_mib)
        found += rows
        for row in rows:
            verdict = "exact" if row.exact else f"NOT EXACT: {row.error}"
            print(f"{name:40}{row.removal:6}{row.removed:6} of {row.masked:6}  {verdict}",
                  file=sys.stderr, flush=True)  # fmt: skip
    args.out.write_text(table.render(found, [], "scripts/topologies/onnx_test_data.py"))
    bad = [row for row in found if not row.exact]
    print(f"{len(found)} trials, {len(bad)} not exact; {args.out}")
    return 1 if bad else 0


def _trials(
    tool: trials.Tool, path: Path, name: str, work: Path, plan: trials.Plan, max_mib: int
) -> list[trials.Trial]:
    """All trials of one file."""
    try:
        model = prepared(path)
        if model.ByteSize() > max_mib << 20:
            raise RuntimeError(f"left out: larger than --max-mib {max_mib}")
        file = work / f"{name}.onnx"
        onnx.save(model, file)
        del model
        return list(trials.trials(tool, file, name, "onnx", work, plan))
    except Exception as error:  # noqa: BLE001 - any failure is a row of the table
        return [trials.Trial(name, "onnx", "-", "-", 0.0, error=trials.described(error))]


if __name__ == "__main__":
    sys.exit(main())
