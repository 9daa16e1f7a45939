"""Writes the fixtures of both torch exporters (`train`: TorchScript in training mode, `external`:
dynamo with weights in a file of their own), of onnxsim and onnxslim, and of ONNX Runtime's own
saving (`ort`: basic level, `extended`): the model, what `inspect` must say of it, and an input with
its output.

    python scripts/dialects/make_torch.py fixtures/dialects [ROW...]
"""

import logging
import sys
import warnings
from pathlib import Path

import onnx
import onnxruntime
import onnxsim
import onnxslim
import torch

import common
import torch_networks

SIZE = 8
#: Rows that are also written by optimisers.
OPTIMISED = {
    **dict.fromkeys(["where_like", "approx_sign", "xnor", "threshold"], ("onnxsim", "onnxslim", "ort")),
    "stem_relu": ("extended",),
}
LEVELS = onnxruntime.GraphOptimizationLevel


def export(net: torch.nn.Module, exporter: str, path: Path) -> None:
    example = torch.randn(1, 3, SIZE, SIZE)
    names = {"input_names": ["input"], "output_names": ["output"]}
    logging.disable(logging.WARNING)
    net.train(exporter == "train")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if exporter in ("script", "train"):
            mode = torch.onnx.TrainingMode.TRAINING if exporter == "train" else torch.onnx.TrainingMode.EVAL
            torch.onnx.export(net, (example,), path, dynamo=False, opset_version=17, training=mode,
                              dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}}, **names)
        else:
            torch.onnx.export(net, (example,), path, dynamo=True, external_data=exporter == "external",
                              verbose=False, **names)


def inference(path: Path, x):
    """The output of a file in training mode with its Dropout and BatchNormalization put right."""
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            del node.output[1:]
            kept = [a for a in node.attribute if a.name != "training_mode"]
            del node.attribute[:]
            node.attribute.extend(kept)
        if node.op_type == "Dropout":
            node.op_type = "Identity"
            del node.input[1:], node.output[1:], node.attribute[:]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def optimise(source: Path, folder: Path, name: str, expect: dict) -> None:
    for tool in OPTIMISED[name]:
        extended = tool == "extended"
        path = folder / f"{name}.{tool}.onnx"
        if tool == "onnxsim":
            simple, ok = onnxsim.simplify(onnx.load(source))
            assert ok, name
            onnx.save(simple, path)
        elif tool == "onnxslim":
            onnx.save(onnxslim.slim(onnx.load(source)), path)
        else:
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = LEVELS.ORT_ENABLE_EXTENDED if extended else LEVELS.ORT_ENABLE_BASIC
            options.optimized_model_filepath = str(path)
            onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        fused = {"prunable": False, "declined": "unknown shape", "no_training": "FusedConv"} if extended else {}
        common.finish(path, {**folded(expect), **fused})


def folded(expect: dict) -> dict:
    """An exporter that evaluates constants may fold BatchNormalization into per-filter scales."""
    scale = expect["scale"]
    return {**expect, "scale_or_folded": scale is not None}


def main(folder: Path, only: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    for name, row in torch_networks.rows().items():
        if only and name not in only:
            continue
        for exporter in row["exporters"]:
            path = folder / f"{name}.{exporter}.onnx"
            try:
                export(row["net"], exporter, path)
            except Exception as e:  # an exporter that refuses a network is a finding
                print(f"{name}: {exporter} refuses: {str(e).splitlines()[0]}", file=sys.stderr)
                continue
            dialect = "torch (TorchScript)" if exporter in ("script", "train") else "torch (dynamo)"
            run = inference if exporter == "train" else None
            common.finish(path, {**folded(row["expect"]), "dialect": dialect}, run=run)
        if name in OPTIMISED:
            optimise(folder / f"{name}.script.onnx", folder, name, row["expect"])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
