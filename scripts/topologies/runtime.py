"""ONNX Runtime with its graph optimisations off, so that both sides round alike."""

import time

import numpy as np
import onnx
import onnxruntime

DISCONTINUOUS = ("Sign", "Round", "Floor", "Ceil", "Less", "LessOrEqual", "Greater",
                 "GreaterOrEqual", "Equal")  # fmt: skip


def session(model: onnx.ModelProto, optimised: bool = False, threads: int = 1):
    """A session on the CPU."""
    options = onnxruntime.SessionOptions()
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def inputs(model: onnx.ModelProto, count: int, seed: int) -> dict[str, np.ndarray]:
    """Samples of mixed sign at several magnitudes."""
    random = np.random.default_rng(seed)
    constant = {t.name for t in model.graph.initializer}
    found = {}
    for value in model.graph.input:
        if value.name in constant:
            continue
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        batch = shape[0] or count
        sizes = np.resize([1.0, 1.0, 0.3, 3.0], batch).reshape(-1, *[1] * (len(shape) - 1))
        found[value.name] = (random.standard_normal((batch, *shape[1:])) * sizes).astype(np.float32)
    return found


def outputs(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The model's outputs."""
    return session(model).run(None, feed)


def tensors(
    model: onnx.ModelProto, names: list[str], feed: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Tensors inside the model, by name."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    del out.graph.output[:]
    given = [name for name in names if name in feed]
    rest = [name for name in names if name not in feed]
    out.graph.output.extend(onnx.ValueInfoProto(name=name) for name in rest)
    values = session(out).run(rest, feed) if rest else []
    return dict(zip(rest, values)) | {name: feed[name] for name in given}


def latency(models: list[onnx.ModelProto], runs: int = 40) -> list[float]:
    """Median milliseconds of one sample, optimisations on, the models in turns."""
    sessions = [session(model, optimised=True) for model in models]
    feed = {k: v[:1] for k, v in inputs(models[0], 1, 0).items()}
    times: list[list[float]] = [[] for _ in models]
    for turn in range(runs + 3):
        for one, found in zip(sessions, times):
            start = time.perf_counter()
            one.run(None, feed)
            if turn >= 3:
                found.append(time.perf_counter() - start)
    return [1000 * float(np.median(found)) for found in times]
