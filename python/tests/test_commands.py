"""The other commands as functions."""

import json
import os

import onnx
import onnx_bnnprune as bnn
import pytest
from conftest import FIXTURES


def test_inspect(vgg, command):
    found = bnn.inspect(vgg)
    assert found == json.loads(command("inspect", vgg, "--json").stdout)
    assert len(found.to_pandas()) == len(found["layers"])


def test_verify(vgg, test_path):
    same = bnn.verify(vgg, onnx.load(vgg), test_path)
    assert same["passed"] and same["max_abs_diff"] == 0 and same["samples"] == 450
    other = bnn.verify(vgg, FIXTURES / "digits_resnet.onnx")
    assert not other["passed"]


def test_check(vgg, tmp_path):
    good = bnn.check(vgg)
    assert good["passed"] == good["checked"] == 1
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"nonsense")
    both = bnn.check([vgg, bad])
    assert (both["passed"], both["checked"]) == (1, 2)
    assert [row["passed"] for row in both["models"]] == [True, False] or len(both.to_pandas()) == 2
    with pytest.raises(bnn.UsageError):
        bnn.check([])


def test_evaluate(vgg, test_path, command):
    found = bnn.evaluate(vgg, test_path, runs=3, batch=2)
    same = json.loads(command("eval", vgg, "--data", test_path, "--runs=3", "--json").stdout)
    assert found["confusion"] == same["confusion"]
    assert found["latency"]["batch"] == 2
    assert "<table>" in found._repr_html_()


def test_train(vgg, train_path, command, tmp_path):
    result = bnn.train(vgg, train_path, epochs=1, lr=1e-4, seed=5)
    assert "Trained for 1 epoch" in result.report.html
    out = tmp_path / "trained.onnx"
    options = ["--epochs=1", "--lr=1e-4", "--seed=5", "--quiet"]
    command("train", vgg, out, "--data", train_path, *options)
    assert result.to_bytes() == out.read_bytes()
    assert len(result.report["epochs"]) == 1
    assert isinstance(result.model, onnx.ModelProto)
    assert "<iframe" in result._repr_html_()


def test_compare(vgg, train_path):
    found = bnn.compare(
        vgg,
        train_path,
        methods=["random", "magnitude"],
        ratios=[0.2],
        seeds=1,
        mask_epochs=1,
        main_epochs=0,
        final_epochs=1,
    )
    assert [row["method"] for row in found["rows"]] == ["unpruned", "random", "magnitude"]
    assert list(found.to_pandas()["ratio"]) == [0.0, 0.2, 0.2]


def test_the_command_of_the_package(vgg, tmp_path):
    import subprocess
    import sys

    line = [sys.executable, "-m", "onnx_bnnprune"]
    version = subprocess.run([*line, "--version"], capture_output=True, text=True)
    assert version.stdout.split() == ["onnx-bnnprune", bnn.__version__]
    out = tmp_path / "out.onnx"
    done = subprocess.run([*line, vgg, out], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "passed: the models agree in ONNX Runtime" in done.stdout
    done = subprocess.run([*line, "check", "nothing"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_convert(vgg, test_path, command, tmp_path):
    result = bnn.convert(vgg, "packed", data=test_path)
    out = tmp_path / "packed.onnx"
    command("convert", vgg, out, "--to", "packed", "--data", test_path)
    assert result.to_bytes() == out.read_bytes()
    assert out.stat().st_size * 3 < os.path.getsize(vgg)
    assert result.report["form"]["name"] == "packed"
    assert "packed form" in result.report.html
    assert bnn.verify(vgg, result.model, test_path)["passed"]
    with pytest.raises(bnn.BnnpruneError, match="qonnx"):
        bnn.convert(FIXTURES / "digits_float.onnx", "qonnx")
