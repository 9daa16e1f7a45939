#!/usr/bin/env python3
"""How many signs differ between runtimes, before and after `--normalise`.

Untrained binary networks without biases, whose sums are often exactly 0: with the scale in floating
point, rounding decides what the sign of 0 becomes, and each runtime rounds in an order of its own.
Each network runs in ONNX Runtime with its optimiser off, at its basic and at its full level, in the
`onnx` package's reference evaluator, in tract and in the tool's native inference; a line of the
table counts the outputs of binarisers (in all binary layers, of all samples) that are not the same in
all six. `ties` are those that are 0 in the normalised model, as its sums of ±1 are integers.

    cargo build --release --bin onnx-bnnprune --example tensors
    scripts/ties.py

A residual stream stays a sum of floating-point numbers also in the integer form: that row shows what
is left there. Needs scripts/requirements.txt. Exit code 1 if in another row a sign of a normalised
model differs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

ROOT = Path(__file__).resolve().parent.parent
IMAGE = (8, 12, 12)
LEVELS = {
    "off": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "full": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


@dataclass
class Network:
    """A network of binary convolutions under construction."""

    seed: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    stored: list[onnx.TensorProto] = field(default_factory=list)
    signs: list[str] = field(default_factory=list)
    stream: str = ""

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def store(self, value: np.ndarray) -> str:
        name = f"c{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def node(self, op: str, *read: str, **attributes: object) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(read), [name], name, **attributes))
        return name

    def sign(self, x: str) -> str:
        """A binariser; all but the one of the image are counted."""
        name = self.node("Sign", x)
        if x != "x":
            self.signs.append(name)
        return name

    def latents(self, filters: int, inputs: int) -> np.ndarray:
        return self.random.normal(size=(filters, inputs, 3, 3)).astype(np.float32)

    def conv(self, x: str, weight: str) -> str:
        return self.node("Conv", x, weight, pads=[1, 1, 1, 1])

    def model(self, output: str) -> onnx.ModelProto:
        infos = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *IMAGE])]
        outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "ties", infos, outputs, self.stored)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model)


def mean_abs(latents: np.ndarray) -> np.ndarray:
    """One scale for each filter."""
    return np.abs(latents).mean((1, 2, 3), keepdims=True)


def constants(net: Network, x: str, filters: int, inputs: int) -> str:
    """Weights of ±α."""
    w = net.latents(filters, inputs)
    return net.sign(net.conv(x, net.store(np.sign(w) * mean_abs(w))))


def scaled(net: Network, x: str, filters: int, inputs: int) -> str:
    """Weights of ±1, and a multiplication behind."""
    w = net.latents(filters, inputs)
    y = net.conv(x, net.store(np.sign(w)))
    return net.sign(net.node("Mul", y, net.store(mean_abs(w).reshape(1, filters, 1, 1))))


def normed(net: Network, x: str, filters: int, inputs: int) -> str:
    """Live weights sign(W)·mean|W|, and a BatchNormalization as it is before training."""
    w = net.store(net.latents(filters, inputs))
    scale = net.node("ReduceMean", net.node("Abs", w), axes=[1, 2, 3])
    y = net.conv(x, net.node("Mul", net.node("Sign", w), scale))
    parameters = [net.store(np.full(filters, v)) for v in (1, 0, 0, 1)]
    return net.sign(net.node("BatchNormalization", y, *parameters))


def pooled(net: Network, x: str, filters: int, inputs: int) -> str:
    """The same with maximum pooling in front of BatchNormalization."""
    w = net.latents(filters, inputs)
    y = net.conv(x, net.store(np.sign(w) * mean_abs(w)))
    y = net.node("MaxPool", y, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    parameters = [net.store(np.full(filters, v)) for v in (1, 0, 0, 1)]
    return net.sign(net.node("BatchNormalization", y, *parameters))


def stream(net: Network, x: str, filters: int, inputs: int) -> str:
    """±1 weights and BatchNormalization into a real-valued stream, as in Bi-Real networks."""
    y = net.conv(x, net.store(np.sign(net.latents(filters, inputs))))
    parameters = [net.store(np.full(filters, v)) for v in (1 / 3, 0, 0, 1)]
    y = net.node("BatchNormalization", y, *parameters)
    net.stream = net.node("Add", y, net.stream) if net.stream else y
    return net.sign(net.stream)


BLOCKS = {
    "±α in the weights": constants,
    "±1, then Mul": scaled,
    "sign(W)·mean|W|, BatchNormalization": normed,
    "MaxPool, BatchNormalization": pooled,
    "±1, BatchNormalization, residual stream": stream,
}


def build(block, depth: int, width: int) -> tuple[onnx.ModelProto, list[str]]:
    """`depth` blocks one behind the other, and the names of what their binarisers give."""
    net = Network(2019)
    x, inputs = net.sign("x"), IMAGE[0]
    for _ in range(depth):
        x, inputs = block(net, x, width, inputs), width
    return net.model(net.node("GlobalAveragePool", x)), net.signs


def shown(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """The model with these tensors as further outputs; only now, as outputs are a contract."""
    for name in names:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return model


def ours(model: onnx.ModelProto, names: list[str], x: np.ndarray, tensors: Path) -> dict:
    """What tract and native inference give."""
    with tempfile.TemporaryDirectory() as folder:
        path, images = Path(folder) / "model.onnx", Path(folder) / "images.npy"
        onnx.save(model, path)
        np.save(images, x)
        subprocess.run([str(c) for c in (tensors, path, images, folder, *names)], check=True)
        return {
            name: [np.load(Path(folder) / name / f"{tensor}.npy") for tensor in names]
            for name in ("tract", "native")
        }


def signs(
    model: onnx.ModelProto, names: list[str], x: np.ndarray, tensors: Path
) -> dict[str, list[np.ndarray]]:
    """Outputs of all binarisers, by runtime."""
    found = ours(model, names, x, tensors)
    model = shown(model, names)
    for name, level in LEVELS.items():
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = level
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        found[f"ONNX Runtime, {name}"] = session.run(None, {"x": x})[1:]
    found["reference"] = ReferenceEvaluator(model).run(None, {"x": x})[1:]
    return found


def differing(found: dict[str, list[np.ndarray]]) -> list[float]:
    """For each layer, the share of signs that are not the same everywhere."""
    layers = zip(*found.values(), strict=True)
    return [float(np.mean(np.ptp(np.stack(layer), axis=0) != 0)) for layer in layers]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser.add_argument("--depth", type=int, default=4, help="binary layers")
    parser.add_argument("--width", type=int, default=16, help="filters of each")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--binary", type=Path, default=target / "release" / "onnx-bnnprune")
    parser.add_argument("--tensors", type=Path, default=target / "release" / "examples" / "tensors")
    parser.add_argument("--ort-lib", type=Path, help="handed to the tool")
    return parser.parse_args()


def main() -> int:
    """Prints the table; the exit code."""
    args = arguments()
    x = np.random.default_rng(7).normal(size=(args.samples, *IMAGE)).astype(np.float32)
    library = ["--ort-lib", args.ort_lib] if args.ort_lib else []
    worst = 0.0
    print("| network | ties | differing signs before | by layer | after `--normalise` |")
    print("|---|---|---|---|---|")
    for name, block in BLOCKS.items():
        model, names = build(block, args.depth, args.width)
        with tempfile.TemporaryDirectory() as folder:
            before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
            onnx.save(model, before)
            command = [args.binary, before, after, "--method", "none", "--normalise", "--quiet", *library]
            subprocess.run([str(c) for c in command], check=True, stdout=subprocess.DEVNULL)
            normal = onnx.load(after)
        original, integer = (signs(m, names, x, args.tensors) for m in (model, normal))
        layers, rest = differing(original), differing(integer)
        ties = np.mean([np.mean(layer == 0) for layer in integer["ONNX Runtime, off"]])
        by_layer = ", ".join(f"{share:.2%}" for share in layers)
        print(f"| {name} | {ties:.1%} | {np.mean(layers):.2%} | {by_layer} | {np.mean(rest):.2%} |",
              flush=True)  # fmt: skip
        if block is not stream:
            worst = max(worst, *rest)
    return 1 if worst else 0


if __name__ == "__main__":
    sys.exit(main())
