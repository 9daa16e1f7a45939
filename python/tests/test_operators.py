"""Networks in the form ``ops``: the library under stress, and the examples."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import onnx_bnnprune as bnn
import onnxruntime
import pytest

ROOT = Path(__file__).parents[2]


def test_the_library_that_is_named_is_the_one_that_sessions_load(monkeypatch, tmp_path):
    named = tmp_path / "library.so"
    named.touch()
    monkeypatch.setenv("ONNX_BNNPRUNE_OPS", str(named))
    assert bnn.ops_library() == str(named)
    named.unlink()
    with pytest.raises(bnn.RuntimeMissingError, match="ONNX_BNNPRUNE_OPS"):
        bnn.ops_library()


def test_the_library_of_the_package_is_found(monkeypatch, vgg, library):
    package = Path(bnn.__file__).parent
    monkeypatch.delenv("ONNX_BNNPRUNE_OPS")
    with pytest.raises(bnn.RuntimeMissingError):
        bnn.convert(vgg, "ops")
    suffix = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
    along = package / (("" if sys.platform == "win32" else "lib") + "onnx_bnnprune_ops" + suffix)
    shutil.copy(library, along)
    try:
        assert bnn.ops_library() == str(along)
        for in_process in (False, True):
            converted = bnn.convert(vgg, "ops", in_process=in_process)
            assert converted.report["verification"]["passed"]
    finally:
        along.unlink()


@pytest.fixture(scope="module")
def models(tmp_path_factory, library):
    folder = tmp_path_factory.mktemp("ops")
    paths = []
    for name in ("vgg", "resnet", "nin"):
        path = folder / f"{name}.ops.onnx"
        bnn.convert(ROOT / "fixtures" / f"digits_{name}.onnx", to="ops", ops_library=library).save(path)
        paths.append(path)
    return paths


def test_malformed_nodes_threads_and_leaks(models, library):
    script = ROOT / "scripts" / "operators" / "stress.py"
    command = [sys.executable, script, "--library", library, "--malformed", "1000", "--seconds", "2", *models]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "malformed nodes: 1000" in done.stdout


def test_the_example_runs(models, library):
    script = ROOT / "examples" / "operators" / "run.py"
    done = subprocess.run([sys.executable, script, models[0], library], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("(1, 10)")


def test_the_example_in_rust_gives_the_same(models, library):
    folder = Path(onnxruntime.__file__).parent / "capi"
    runtime = next(path for path in folder.iterdir() if re.fullmatch(r"(lib)?onnxruntime\.(so.*|.*dylib|dll)", path.name))
    example = Path(os.environ["ONNX_BNNPRUNE_EXAMPLES"], "operators" + (".exe" if os.name == "nt" else ""))
    environment = {**os.environ, "ORT_DYLIB_PATH": str(runtime)}
    done = subprocess.run([example, models[0], library], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [float(number) for number in re.findall(r"-?\d+\.\d+", done.stdout)]
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(library)
    session = onnxruntime.InferenceSession(models[0], options)
    value = session.get_inputs()[0]
    x = numpy.zeros([1, *value.shape[1:]], numpy.float32)
    assert found[:10] == pytest.approx(session.run(None, {value.name: x})[0].ravel(), abs=1e-5)
