"""Beside a model: what is expected of it, and an input with its output as bytes of f32."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime


def finish(path: Path, expect: dict, shape=(1, 3, 8, 8), run=None) -> None:
    """Writes `NAME.json`; `run(model, x)` computes the golden output, by default ONNX Runtime."""
    # External data, if any, stay where they are.
    external = path.with_name(path.name + ".data").exists() and run is None
    model = onnx.load(path, load_external_data=not external)
    for node in model.graph.node:  # stack traces of the exporter: they name this machine
        del node.metadata_props[:]
        node.ClearField("doc_string")
    for value in model.graph.value_info:
        del value.metadata_props[:]
    for value in list(model.graph.input) + list(model.graph.output) + list(model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    onnx.save(model, path)
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    if run is None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        y = session.run(None, {session.get_inputs()[0].name: x})[0]
    else:
        y = run(path, x)
    golden = {"input": [round(float(v), 6) for v in x.ravel()], "shape": list(shape)}
    x = np.array(golden["input"], np.float32).reshape(shape)
    y = session.run(None, {session.get_inputs()[0].name: x})[0] if run is None else run(path, x)
    golden["output"] = [float(v) for v in np.asarray(y).ravel()]
    path.with_suffix(".json").write_text(json.dumps({"expect": expect, "golden": golden}) + "\n")
