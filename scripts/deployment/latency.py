#!/usr/bin/env python3
"""Latency of networks in the form `ops` beside ONNX Runtime's float path, in the same process.

    pip install onnxruntime numpy [openvino]
    scripts/deployment/latency.py --library target/release/libonnx_bnnprune_ops.so FLOAT.onnx:OPS.onnx ...

Stretches of runs take turns, so that what else the machine does meets all alike. Prints the medians, the fastest runs, and both
ratios. With --instructions the library counts bits with other instructions than the best (avx2, portable).
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

# Turns that each runtime gets, and seconds in front of each.
STRETCHES = 10
ASLEEP = 0.2


def session(path, threads, library=None):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if library:
        options.register_custom_ops_library(str(library))
    return ort.InferenceSession(path, options)


def openvino(path, threads, batch):
    """A function that runs a network in OpenVINO, where that is installed."""
    try:
        import openvino as ov
    except ImportError:
        return None
    core = ov.Core()
    model = core.read_model(path)
    shape = model.inputs[0].partial_shape
    shape[0] = batch
    model.reshape({model.inputs[0]: shape})
    hints = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", hints).create_infer_request()
    return lambda x: request.infer({0: x})


def interleaved(runs, *functions):
    """Median and least time of each, in milliseconds: stretches of runs take turns, and in front of each the threads of
    the others are given time to go to sleep, for they wait in a loop for a while."""
    times = [[] for _ in functions]
    for _ in range(STRETCHES):
        for taken, function in zip(times, functions):
            time.sleep(ASLEEP)
            for _ in range(3):
                function()
            for _ in range(max(1, runs // STRETCHES)):
                start = time.perf_counter()
                function()
                taken.append((time.perf_counter() - start) * 1e3)
    return [(statistics.median(t), min(t)) for t in times]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="+", metavar="FLOAT.onnx:OPS.onnx")
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=300, help="of one image; a tenth of it for a batch")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--instructions", help="instead of the best that there are")
    arguments = parser.parse_args()
    if arguments.instructions:
        os.environ["BNN_KERNELS_BITS"] = arguments.instructions
    print("| network | threads | batch | ONNX Runtime | OpenVINO | operators | times as fast as ONNX Runtime | fastest runs |")
    print("|---|---|---|---|---|---|---|---|")
    for pair in arguments.pairs:
        plain, ops = pair.split(":")
        for threads in arguments.threads:
            a, b = session(plain, threads), session(ops, threads, arguments.library)
            value = a.get_inputs()[0]
            for batch in arguments.batch:
                shape = [batch, *value.shape[1:]]
                x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
                feed = {value.name: x}
                functions = [lambda: a.run(None, feed), lambda: b.run(None, feed)]
                other = openvino(plain, threads, batch)
                if other:
                    functions.append(lambda: other(x))
                runs = arguments.runs if batch == 1 else max(5, arguments.runs // 10)
                (ort_median, ort_least), (median, least), *more = interleaved(runs, *functions)
                vino = f"{more[0][0]:.3f} ms" if more else "–"
                print(
                    f"| {Path(ops).stem.removesuffix('.ops')} | {threads} | {batch} | {ort_median:.3f} ms | {vino} | {median:.3f} ms "
                    f"| {ort_median / median:.1f} | {ort_least:.3f} → {least:.3f} ms ({ort_least / least:.1f}) |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
