#!/usr/bin/env python3
"""Writes a trained network with its large weights in 16 bits, each behind a Cast: half the file.

    scripts/networks/halve.py IN.onnx OUT.onnx

Signs stay: what 16 bits would round to 0 becomes their smallest number. Needs scripts/requirements.txt.
"""

import sys

import numpy as np
import onnx
from onnx import helper, numpy_helper

# Smaller tensors stay as they are.
LEAST = 4096
SMALLEST = np.float16(6e-8)


def halved(values: np.ndarray) -> np.ndarray:
    """The same numbers in 16 bits, none of them turned to 0."""
    half = values.astype(np.float16)
    lost = (half == 0) & (values != 0)
    half[lost] = np.sign(values[lost]).astype(np.float16) * SMALLEST
    return half


def main() -> None:
    source, target = sys.argv[1:]
    model = onnx.load(source)
    kept, casts = [], []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size <= LEAST:
            kept.append(tensor)
            continue
        name = f"{tensor.name}.f16"
        kept.append(numpy_helper.from_array(halved(values), name))
        to = onnx.TensorProto.FLOAT
        casts.append(helper.make_node("Cast", [name], [tensor.name], f"{tensor.name}.cast", to=to))
    nodes = list(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(casts + nodes)
    onnx.checker.check_model(model)
    onnx.save(model, target)


if __name__ == "__main__":
    main()
