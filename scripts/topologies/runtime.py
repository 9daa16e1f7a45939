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
    """At least `count` samples of mixed sign at several magnitudes; whole batches."""
    random = np.random.default_rng(seed)
    batch = fixed_batch(model) or 1
    count = -(-count // batch) * batch
    found = {}
    for value in _data_inputs(model):
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        sizes = np.resize([1.0, 1.0, 0.3, 3.0], count).reshape(-1, *[1] * (len(shape) - 1))
        found[value.name] = (random.standard_normal((count, *shape[1:])) * sizes).astype(np.float32)
    return found


def _data_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    constant = {t.name for t in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constant]


def fixed_batch(model: onnx.ModelProto) -> int:
    """The batch size that the file asks for, or 0 where it is free."""
    return max(v.type.tensor_type.shape.dim[0].dim_value for v in _data_inputs(model))


def run(
    model: onnx.ModelProto, names: list[str] | None, feed: dict[str, np.ndarray]
) -> list[np.ndarray]:
    """Outputs for all samples, batch by batch where the batch is fixed."""
    one = session(model)
    count = len(next(iter(feed.values())))
    batch = fixed_batch(model) or count
    parts = [
        one.run(names, {name: value[start : start + batch] for name, value in feed.items()})
        for start in range(0, count, batch)
    ]
    return [np.concatenate(part) if len(parts) > 1 else part[0] for part in zip(*parts)]


def outputs(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The model's outputs."""
    return run(model, None, feed)


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
    values = run(out, rest, feed) if rest else []
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
