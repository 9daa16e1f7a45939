#!/usr/bin/env python3
"""What qonnx's inference_cost says of networks: the figures that the tests hold the tool's against.

    pip install qonnx
    python3 scripts/deployment/qonnx_cost.py fixtures/dialects/*.onnx > fixtures/dialects/costs.json

qonnx takes weights of ±s for floats of 32 bits where s is not 1. Here each weight that takes two values
±s in a filter is told to be BIPOLAR, as the bits are what is counted; everything else is qonnx's own, its
command's steps included. A free batch is 1. Left out (and named on stderr) are files in which qonnx
takes what a layer of ±s weights reads for floats: it knows Sign, Quant and BipolarQuant, not
comparisons, and its figures are then of another network.
"""

import argparse
import json
import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import qonnx  # noqa: E402
from qonnx.core.datatype import DataType  # noqa: E402
from qonnx.core.modelwrapper import ModelWrapper  # noqa: E402
from qonnx.transformation.fold_constants import FoldConstants  # noqa: E402
from qonnx.transformation.general import (  # noqa: E402
    GiveUniqueNodeNames,
    GiveUniqueParameterTensors,
    RemoveStaticGraphInputs,
    RemoveUnusedTensors,
)
from qonnx.transformation.infer_datatypes import InferDataTypes  # noqa: E402
from qonnx.transformation.infer_shapes import InferShapes  # noqa: E402
from qonnx.util.inference_cost import inference_cost  # noqa: E402

LAYERS = ("Conv", "Gemm", "MatMul")


def binary(weight, axis):
    """Whether each slice along the axis is ±s (or 0), with both signs somewhere."""
    scale = np.abs(weight).max(axis=tuple(k for k in range(weight.ndim) if k != axis), keepdims=True)
    near = np.abs(np.abs(weight) - scale) <= 1e-4 * scale
    rest = tuple(k for k in range(weight.ndim) if k != axis)
    mixed = ((weight > 0).any(axis=rest) & (weight < 0).any(axis=rest)).any()
    # Whole filters of zeros are masked, zeros among others make ternary weights.
    zeros = ((weight == 0) & (scale > 0)).mean()
    return bool((near | (weight == 0)).all() and mixed and zeros < 0.2)


def axis_of(node):
    if node.op_type == "Conv":
        return 0
    return 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1


def costs(path):
    model = onnx.load(path)
    for value in list(model.graph.input) + list(model.graph.output):
        for dim in value.type.tensor_type.shape.dim[:1]:
            if not dim.dim_value:
                dim.dim_value = 1
    del model.graph.value_info[:]
    model = ModelWrapper(model)
    for node in model.get_nodes_by_op_type("Quant"):
        node.domain = "qonnx.custom_op.general"
    for step in [
        InferShapes(),
        GiveUniqueParameterTensors(),
        InferDataTypes(allow_scaledint_dtypes=True),
        FoldConstants(exclude_op_types=[]),
        RemoveUnusedTensors(),
        RemoveStaticGraphInputs(),
        InferDataTypes(allow_scaledint_dtypes=True),
        GiveUniqueNodeNames(),
    ]:
        model = model.transform(step)
    for node in model.graph.node:
        weight = model.get_initializer(node.input[1]) if node.op_type in LAYERS else None
        if weight is not None and binary(weight, axis_of(node)):
            model.set_tensor_datatype(node.input[1], DataType["BIPOLAR"])
            if model.get_tensor_datatype(node.input[0]) == DataType["FLOAT32"]:
                raise ValueError(f"what {node.name} reads is FLOAT32 to qonnx")
    found = inference_cost(model, preprocess=False, cost_breakdown=True)

    def short(cost):
        return {
            "operations": int(cost["total_bops"]),
            "weights": int(cost["total_mem_w_bits"]),
            "outputs": int(cost["total_mem_o_bits"]),
        }

    names = [n.name for n in model.graph.node if n.op_type in LAYERS]
    return {
        "layers": [short(found["node_cost"][n]) for n in names],
        "total": short(found["total_cost"]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+", type=Path)
    args = parser.parse_args()
    found = {}
    for path in args.models:
        try:
            found[path.name] = costs(path)
        except Exception as e:  # qonnx fails on some operators, in many ways
            print(f"{path}: {type(e).__name__}: {str(e).splitlines()[:1]}", file=sys.stderr)
    version = getattr(qonnx, "__version__", "1.0.0")
    json.dump({"qonnx": version, "models": found}, sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
