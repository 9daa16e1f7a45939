"""Runs a network in the form `ops` in ONNX Runtime.

    pip install onnxruntime numpy
    python examples/operators/run.py MODEL.ops.onnx libonnx_bnnprune_ops.so
"""

import sys

import numpy as np
import onnxruntime as ort


def main(model: str, library: str) -> None:
    options = ort.SessionOptions()
    options.register_custom_ops_library(library)
    session = ort.InferenceSession(model, options)
    image = session.get_inputs()[0]
    shape = [d if isinstance(d, int) else 1 for d in image.shape]
    logits = session.run(None, {image.name: np.zeros(shape, np.float32)})[0]
    print(logits.shape, logits[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
