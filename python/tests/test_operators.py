"""Networks in the form ``ops``: the library under stress, and the example."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnx_bnnprune as bnn
import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = os.environ.get("ONNX_BNNPRUNE_OPS")


def test_the_library_that_is_named_is_the_one_that_sessions_load(monkeypatch, tmp_path):
    named = tmp_path / "library.so"
    named.touch()
    monkeypatch.setenv("ONNX_BNNPRUNE_OPS", str(named))
    assert bnn.ops_library() == str(named)
    named.unlink()
    with pytest.raises(bnn.RuntimeMissingError, match="ONNX_BNNPRUNE_OPS"):
        bnn.ops_library()


@pytest.mark.skipif(not LIBRARY, reason="scripts/test.sh names the library, which Rust's tests build")
def test_the_library_of_the_package_is_found(monkeypatch, vgg):
    package = Path(bnn.__file__).parent
    monkeypatch.delenv("ONNX_BNNPRUNE_OPS")
    with pytest.raises(bnn.RuntimeMissingError):
        bnn.convert(vgg, "ops")
    suffix = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
    along = package / (("" if sys.platform == "win32" else "lib") + "onnx_bnnprune_ops" + suffix)
    shutil.copy(LIBRARY, along)
    try:
        assert bnn.ops_library() == str(along)
        for in_process in (False, True):
            converted = bnn.convert(vgg, "ops", in_process=in_process)
            assert converted.report["verification"]["passed"]
    finally:
        along.unlink()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ops")
    paths = []
    for name in ("vgg", "resnet", "nin"):
        path = folder / f"{name}.ops.onnx"
        bnn.convert(ROOT / "fixtures" / f"digits_{name}.onnx", to="ops", ops_library=LIBRARY).save(path)
        paths.append(path)
    return paths


@pytest.mark.skipif(not LIBRARY, reason="scripts/test.sh names the library, which Rust's tests build")
def test_malformed_nodes_threads_and_leaks(models):
    script = ROOT / "scripts" / "operators" / "stress.py"
    command = [sys.executable, script, "--library", LIBRARY, "--malformed", "1000", "--seconds", "2", *models]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "malformed nodes: 1000" in done.stdout


@pytest.mark.skipif(not LIBRARY, reason="scripts/test.sh names the library, which Rust's tests build")
def test_the_example_runs(models):
    script = ROOT / "examples" / "operators" / "run.py"
    done = subprocess.run([sys.executable, script, models[0], LIBRARY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("(1, 10)")
