#!/usr/bin/env python3
"""The table of docs/deployment.md: packed files against the float files that they were made of.

    pip install onnx onnxruntime openvino tract
    python3 scripts/deployment/table.py --tool target/release/onnx-bnnprune MODEL.onnx ...

Each model is written with `convert --to packed`, and both files run in every runtime that this
interpreter has: ONNX Runtime at its four levels of optimisation, onnx's reference evaluator, OpenVINO,
tract. --python names further interpreters, with other versions. "=" is equal to the bit; else the
largest difference. Loading and latency (one image, one thread) are medians in ONNX Runtime, the two
files in turn.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LEVELS = ["DISABLE_ALL", "ENABLE_BASIC", "ENABLE_EXTENDED", "ENABLE_ALL"]
IMAGES = 16
ROUNDS = 7


def difference(a, b):
    import numpy as np

    pairs = list(zip(a, b))
    if all(np.array_equal(x, y) for x, y in pairs):
        return 0.0
    return max(float(np.abs(x.astype(np.float64) - y).max()) for x, y in pairs)


def shape_of(path):
    import onnx

    value = onnx.load(path).graph.input[0]
    dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
    return value.name, dims


def median(values):
    return sorted(values)[len(values) // 2]


def times(make, runs):
    """Medians of a call for each of two makers, in turn."""
    found = [[], []]
    for _ in range(ROUNDS):
        for k in (0, 1):
            call = make(k)
            for _ in range(runs):
                start = time.perf_counter()
                call()
                found[k].append(1e3 * (time.perf_counter() - start))
    return [median(v) for v in found]


def in_onnxruntime(paths, name, x):
    import onnxruntime as ort

    def session(path, level="ENABLE_ALL"):
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_{level}")
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def outputs(path, level):
        s = session(path, level)
        return s.run(None, {name: x})

    levels = {l: difference(*[outputs(p, l) for p in paths]) for l in LEVELS}
    sessions = [session(p) for p in paths]
    one = {name: x[:1]}
    latency = times(lambda k: lambda: sessions[k].run(None, one), 60)
    load = times(lambda k: lambda: session(paths[k]), 3)
    return {
        "version": ort.__version__,
        "difference": max(levels.values()),
        "latency_ms": latency,
        "load_ms": load,
    }


def in_reference(paths, name, x):
    import onnx
    from onnx.reference import ReferenceEvaluator

    found = [ReferenceEvaluator(str(p)).run(None, {name: x[:1]}) for p in paths]
    return {"version": onnx.__version__, "difference": difference(*found)}


def in_openvino(paths, name, x):
    import openvino as ov

    core = ov.Core()
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}

    def outputs(path):
        compiled = core.compile_model(core.read_model(str(path)), "CPU", hints)
        found = compiled({name: x})
        return [found[k] for k in range(len(compiled.outputs))]

    return {"version": ov.__version__.split("-")[0], "difference": difference(*map(outputs, paths))}


def in_tract(paths, name, x):
    import tract

    def outputs(path):
        model = tract.onnx().load(str(path))
        model.set_input_fact(0, ",".join(map(str, x.shape)) + ",f32")
        found = model.into_model().into_runnable().run([x])
        return [v.to_numpy() for v in found]

    return {"version": tract.version(), "difference": difference(*map(outputs, paths))}


RUNTIMES = {
    "ONNX Runtime": in_onnxruntime,
    "onnx reference": in_reference,
    "OpenVINO": in_openvino,
    "tract": in_tract,
}


def run(paths):
    """Both files in every runtime of this interpreter."""
    import numpy as np

    name, dims = shape_of(paths[0])
    x = np.random.default_rng(0).standard_normal((IMAGES, *dims[1:])).astype(np.float32)
    if dims[0]:
        x = x[: dims[0]]
    found = {}
    for runtime, call in RUNTIMES.items():
        try:
            found[runtime] = call(paths, name, x)
        except ImportError:
            continue
        except Exception as e:
            found[runtime] = {"version": "", "error": f"{type(e).__name__}: {e}".splitlines()[0]}
    return found


def weights(layer):
    count = layer["filters"] * layer["inputs"]
    for k in layer["kernel"]:
        count *= k
    return count


def row(tool, pythons, model, folder):
    packed, report = folder / f"{model.stem}.packed.onnx", folder / "report.json"
    call = [tool, "convert", model, packed, "--to", "packed", "--report", report, "-q"]
    subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
    said = json.loads(report.read_text())
    inspected = subprocess.run([tool, "inspect", packed, "--json"], check=True, capture_output=True)
    layers = json.loads(inspected.stdout)["layers"]
    bits = set(said["form"]["layers"])
    share = sum(weights(l) for l in layers if l["name"] in bits) / sum(map(weights, layers))
    # Runtimes have no quantisers of QONNX.
    plain = folder / f"{model.stem}.float.onnx"
    call = [tool, "convert", model, plain, "--to", "onnx", "-q"]
    standard = subprocess.run(call, capture_output=True).returncode != 0
    float_file = model if standard else plain
    found = {}
    for python in pythons:
        child = subprocess.run([python, __file__, "--run", float_file, packed], capture_output=True, text=True)
        if child.returncode:
            print(child.stderr, file=sys.stderr)
            continue
        for runtime, result in json.loads(child.stdout).items():
            found.setdefault(f"{runtime} {result['version']}".strip(), result)
    return {
        "model": model.stem,
        "before": model.stat().st_size,
        "after": packed.stat().st_size,
        "share": share,
        "runtimes": found,
    }


def table(rows):
    runtimes = []
    for r in rows:
        runtimes += [name for name in r["runtimes"] if name not in runtimes]
    timed = next(n for n in runtimes if n.startswith("ONNX Runtime"))
    head = ["model", "bytes", "packed", "smaller", "binary weights", *runtimes, "load", "latency"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]

    def cell(r, name):
        result = r["runtimes"].get(name)
        if result is None:
            return ""
        if "error" in result:
            return "fails"
        return "=" if result["difference"] == 0 else f"{result['difference']:.1e}"

    for r in rows:
        load, latency = r["runtimes"][timed]["load_ms"], r["runtimes"][timed]["latency_ms"]
        lines.append(
            "| " + " | ".join([
                r["model"], f"{r['before']:,}", f"{r['after']:,}",
                f"{r['before'] / r['after']:.1f} ×", f"{100 * r['share']:.1f} %",
                *[cell(r, n) for n in runtimes],
                f"{load[0]:.1f} → {load[1]:.1f} ms",
                f"{latency[0]:.3f} → {latency[1]:.3f} ms ({100 * (latency[1] / latency[0] - 1):+.1f} %)",
            ]) + " |"
        )
    errors = {f"{n}: {x['error']}" for r in rows for n, x in r["runtimes"].items() if "error" in x}
    return "\n".join(lines + sorted(errors))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--tool", default=os.environ.get("ONNX_BNNPRUNE", "onnx-bnnprune"))
    parser.add_argument("--python", action="append", default=[], help="a further interpreter")
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        print(json.dumps(run(args.models)))
        return
    with tempfile.TemporaryDirectory() as folder:
        pythons = [sys.executable, *args.python]
        print(table([row(args.tool, pythons, m, Path(folder)) for m in args.models]))


if __name__ == "__main__":
    main()
