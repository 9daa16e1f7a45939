#!/usr/bin/env python3
"""Does the tool judge models as onnx.checker and ONNX Runtime do?

Takes every .onnx in the Python package onnx's own test data. Each is read and written again by
examples/recode.rs, which must give the same bytes; then `check` judges it, and so do
`onnx.checker.check_model(full_check=True)` and ONNX Runtime, which loads it and runs it on the
inputs that lie beside it. Files that `check` passes and one of the two refuses, or the reverse,
are listed in docs/judge.md with an explanation.

    scripts/schemas/judge.py            (builds what it needs, writes docs/judge.md)

Needs scripts/requirements.txt. Exit code 1 if a file comes back different, or a difference has no
explanation.
"""

import argparse
import concurrent.futures
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"

# What explains a difference: who differs, words in what they say, and why that is.
EXPLANATIONS = [
    (
        "check",
        "not finite on random inputs",
        "`check` asks for finite outputs on normally distributed inputs, which the other two do not: "
        "a bare Sqrt gives NaN for the negative ones. Intended: in a network that is a fault.",
    ),
]


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    parser.add_argument("--binary", type=Path, help="the tool [default: built]")
    parser.add_argument("--recode", type=Path, help="examples/recode.rs [default: built]")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "judge.md")
    given = parser.parse_args()
    if given.binary is None or given.recode is None:
        build = ["cargo", "build", "--release", "--no-default-features", "--bins"]
        subprocess.run([*build, "--example", "recode"], cwd=ROOT, check=True)
    given.binary = given.binary or target / "onnx-bnnprune"
    given.recode = given.recode or target / "examples" / "recode"
    return given


def library():
    """ONNX Runtime's shared library in the Python package: one runtime for all."""
    folder = Path(onnxruntime.__file__).parent / "capi"
    found = [p for p in sorted(folder.glob("*onnxruntime.*")) if "pybind" not in p.name]
    found += sorted(folder.glob("libonnxruntime*"))
    return found[0]


def recoded(binary, paths):
    """`same`, `different`, or why it cannot be read, for each file."""
    done = subprocess.run([binary, *paths], capture_output=True, text=True, check=True)
    verdicts = {}
    for line in done.stdout.splitlines():
        verdict, path, *why = line.split("\t")
        verdicts[Path(path)] = why[0] if why else verdict
    return verdicts


def checked(binary):
    """What `check` says of each file: its problems, none where it passes."""
    command = [binary, "check", DATA, "--json", "-q", "--ort-lib", library()]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        sys.exit(done.stderr)
    models = json.loads(done.stdout)["models"]
    return {
        Path(m["path"]): "; ".join(f"{p['check']}: {p['message']}" for p in m["problems"])
        for m in models
    }


def first_line(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:300] or type(error).__name__


def by_checker(path):
    """What onnx.checker says: nothing where the model is good."""
    try:
        onnx.checker.check_model(path, full_check=True)
    except Exception as error:  # whatever it raises is its verdict
        return first_line(error)
    return ""


def by_runtime(path):
    """What ONNX Runtime says of loading and running: nothing where it does both."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        inputs = inputs_beside(path, session)
        if inputs is not None:
            session.run(None, inputs)
    except Exception as error:  # whatever it raises is its verdict
        return first_line(error)
    return ""


def inputs_beside(path, session):
    """The inputs in test_data_set_0, or zeros of the declared shapes; None if neither will do."""
    folder = Path(path).parent / "test_data_set_0"
    values = {}
    for number, wanted in enumerate(session.get_inputs()):
        file = folder / f"input_{number}.pb"
        if file.exists() and wanted.type.startswith("tensor"):
            tensor = onnx.TensorProto.FromString(file.read_bytes())
            values[wanted.name] = numpy_helper.to_array(tensor)
        elif wanted.type == "tensor(float)":
            sides = [d if isinstance(d, int) and d > 0 else 1 for d in wanted.shape]
            values[wanted.name] = np.zeros(sides, np.float32)
        else:
            return None
    return values


def judged(function, paths):
    """The function's answer for each file, from a process that may crash."""
    answers = {}
    pool = concurrent.futures.ProcessPoolExecutor(1)
    for path in paths:
        try:
            answers[path] = pool.submit(function, str(path)).result(timeout=600)
        except concurrent.futures.process.BrokenProcessPool:
            answers[path] = "the process died"
            pool = concurrent.futures.ProcessPoolExecutor(1)
    pool.shutdown()
    return answers


def explanation(ours, checker, runtime):
    """Why verdicts differ, if that is known."""
    said = {"check": ours, "checker": checker, "runtime": runtime}
    for who, words, why in EXPLANATIONS:
        if words in said[who]:
            return why
    return None


def cell(text):
    return text.replace("|", "\\|").replace(str(DATA), "…") or "good"


def main():
    given = arguments()
    paths = sorted(DATA.rglob("*.onnx"))
    written = recoded(given.recode, paths)
    ours = checked(given.binary)
    checker, runtime = judged(by_checker, paths), judged(by_runtime, paths)
    same = [p for p in paths if written[p] == "same"]
    rows, unexplained = [], 0
    agreed = 0
    for path in paths:
        good = not ours[path]
        if good == (not checker[path] and not runtime[path]):
            agreed += 1
            continue
        why = explanation(ours[path], checker[path], runtime[path])
        unexplained += why is None
        texts = [ours[path], checker[path], runtime[path], why or "**not explained**"]
        cells = " | ".join(cell(t) for t in texts)
        rows.append(f"| `{path.relative_to(DATA)}` | {cells} |")
    others = [p for p in paths if written[p] != "same"]
    passed = sum(not ours[p] for p in paths)
    text = f"""# Judged side by side

Made by `scripts/schemas/judge.py`; do not edit. {len(paths)} models of the test data in the Python package
`onnx` {onnx.__version__}; ONNX Runtime {onnxruntime.__version__}.

- **Read and written again**: {len(same)} of {len(paths)} come back byte for byte.
- **`check`** passes {passed} of {len(paths)}. It agrees with `onnx.checker` (full check) and ONNX
  Runtime together on {agreed}. Of these files `onnx.checker` refuses {sum(map(bool, checker.values()))},
  ONNX Runtime {sum(map(bool, runtime.values()))} (mostly operators of opsets that it no longer has).
"""
    if others:
        text += "\nNot byte for byte:\n\n"
        text += "".join(f"- `{p.relative_to(DATA)}`: {written[p]}\n" for p in others)
    if rows:
        text += "\n## Differences\n\n| file | `check` | `onnx.checker` | ONNX Runtime | why |\n"
        text += "|---|---|---|---|---|\n" + "\n".join(rows) + "\n"
    given.out.write_text(text)
    print(text)
    sys.exit(bool(others or unexplained))


if __name__ == "__main__":
    main()
