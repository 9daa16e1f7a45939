"""Each kind of bad input has its exception, which knows the file, the node and the remedy."""

import os
import re
import shutil

import numpy as np
import onnx
import onnx_bnnprune as bnn
import pytest
from conftest import FIXTURES, QUICK
from onnx_bnnprune import _native


def test_unknown_options_are_type_errors(vgg):
    with pytest.raises(TypeError, match=r"prune\(\) .* 'rato'; did you mean 'ratio'\?"):
        bnn.prune(vgg, rato=0.5)
    with pytest.raises(TypeError, match=r"inspect\(\) .*'json'"):
        bnn.inspect(vgg, json=True)
    with pytest.raises(TypeError, match="True or False"):
        bnn.eliminate(vgg, normalise="yes")


@pytest.mark.parametrize(
    "options", [{"ratio": 2}, {"ratio": 0.5}, {"method": "best"}, {"threads": 0}, {"runtime": "x"}]
)
def test_bad_values_and_options_without_effect_are_usage_errors(vgg, options):
    with pytest.raises(bnn.UsageError) as found:
        bnn.prune(vgg, **options)
    assert isinstance(found.value, ValueError) and isinstance(found.value, bnn.BnnpruneError)
    assert found.value.exit_code == 2
    assert next(iter(options)) in str(found.value)
    assert "\n" not in str(found.value)


def test_models(vgg, tmp_path, train_path):
    with pytest.raises(bnn.ModelError) as found:
        bnn.inspect(tmp_path / "missing.onnx")
    assert found.value.file == str(tmp_path / "missing.onnx")
    with pytest.raises(bnn.ModelError, match="^model: ") as found:
        bnn.inspect(b"nonsense")
    assert found.value.file is None
    with pytest.raises(TypeError, match="not list"):
        bnn.inspect([vgg])

    broken = onnx.load(vgg)
    node = next(node for node in broken.graph.node if node.name == "/conv2/Conv")
    node.input[0] = "nowhere"
    with pytest.raises(bnn.ModelError) as found:
        bnn.inspect(broken)
    assert found.value.node == "/conv2/Conv"
    assert found.value.remedy == "the model is invalid"

    with pytest.raises(bnn.BnnpruneError) as found:
        bnn.prune(FIXTURES / "digits_float.onnx", train_path)
    assert found.value.exit_code == 2


def test_images(vgg, digits, tmp_path):
    x, y = digits
    with pytest.raises(bnn.DataError) as found:
        bnn.prune(vgg, tmp_path / "none")
    assert found.value.file == str(tmp_path / "none")
    with pytest.raises(bnn.DataError, match="^data: .*; ") as found:
        bnn.prune(vgg, (x[:, :, :7], y))
    assert found.value.file is None and found.value.remedy
    with pytest.raises(bnn.DataError, match="chance|permuted|other"):
        bnn.prune(vgg, (x, np.random.default_rng(0).permutation(y)))
    with pytest.raises(bnn.DataError, match="no images"):
        bnn.prune(vgg, [])
    with pytest.raises(bnn.DataError, match="one size"):
        bnn.prune(vgg, [(x[:9], y[:9]), (x[:9, :, :7], y[:9])])
    with pytest.raises(bnn.DataError, match="one type"):
        bnn.prune(vgg, [(x[:9], y[:9]), (x[:9] / 255, y[:9])])
    with pytest.raises(bnn.DataError, match="one class index an image"):
        bnn.prune(vgg, [(x[:9], y[:8])])
    with pytest.raises(bnn.DataError, match="some batches have labels"):
        bnn.prune(vgg, [(x[:9], y[:9]), (x[:9], None)])
    with pytest.raises(bnn.DataError, match="columns"):
        bnn.prune(vgg, [{"picture": x[:9]}])
    with pytest.raises(bnn.DataError, match="shape"):
        bnn.prune(vgg, x[0, 0, 0])
    with pytest.raises(TypeError):
        bnn.prune(vgg, 7)
    with pytest.raises(TypeError, match="labels"):
        bnn.prune(vgg, "x.npz", labels=y)


def test_an_error_of_the_loader_is_passed_on(vgg, digits):
    def loader():
        yield digits[0][:5], digits[1][:5]
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        bnn.prune(vgg, loader())


def test_masks(vgg, tmp_path):
    with pytest.raises(bnn.MasksError) as found:
        bnn.apply_masks(vgg, {"/conv9/Conv": [1]})
    assert found.value.node == "/conv9/Conv"
    assert "inspect" in found.value.remedy
    with pytest.raises(bnn.MasksError, match="does not exist"):
        bnn.apply_masks(vgg, {"/conv2/Conv": [48]})
    with pytest.raises(bnn.MasksError, match="keep at least one"):
        bnn.apply_masks(vgg, {"/conv2/Conv": range(48)})
    path = tmp_path / "masks.json"
    path.write_text("{}")
    with pytest.raises(bnn.MasksError) as found:
        bnn.apply_masks(vgg, path)
    assert found.value.file == str(path)


def test_outputs(vgg, tmp_path):
    missing = tmp_path / "none" / "out"
    for options in (
        {"output": missing},
        {"report": missing},
        {"html": missing},
        {"save_masked": missing},
        {"save_config": missing},
        {"config": {"report": str(missing)}},
    ):
        with pytest.raises(bnn.OutputError) as found:
            bnn.eliminate(vgg, **options)
        assert found.value.file == str(missing), options
    result = bnn.eliminate(vgg)
    with pytest.raises(bnn.OutputError):
        result.save(tmp_path / "none" / "out.onnx")


@pytest.mark.parametrize("named", [True, False])
def test_a_page_that_cannot_be_written_loses_no_model(vgg, train_path, tmp_path, named):
    gone = tmp_path / "gone"
    gone.mkdir()
    out = tmp_path / "out.onnx" if named else None
    with pytest.raises(bnn.OutputError, match="gone.*cannot be written") as found:
        bnn.prune(
            vgg,
            train_path,
            output=out,
            html=gone / "page.html",
            progress=lambda *_: shutil.rmtree(gone, ignore_errors=True),
            **QUICK,
        )
    assert found.value.exit_code == 2
    path = re.search(r" \(the model is in (.*\.onnx)\)$", str(found.value)).group(1)
    report = bnn.check(path)
    assert report["passed"] == 1
    assert found.value.report["verification"]["passed"] and found.value.remedy is None
    if named:
        assert path == str(out)
    else:
        shutil.rmtree(os.path.dirname(path))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has a disk that is always full")
def test_check_says_that_its_file_cannot_be_written_also_of_bad_models(vgg, tmp_path):
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"nonsense")
    for model, passed in ((vgg, 1), (bad, 0)):
        with pytest.raises(bnn.OutputError, match="/dev/full.*cannot be written") as found:
            bnn.check(model, junit="/dev/full")
        assert found.value.report["passed"] == passed and found.value.exit_code == 2
    assert bnn.check(bad)["passed"] == 0


def test_standard_output_is_not_a_functions(vgg, train_path, capfd):
    for options in (
        {"output": "-"},
        {"report": "-"},
        {"html": "-"},
        {"save_masks": "-"},
        {"save_masked": "-"},
        {"save_config": "-"},
        {"config": {"report": "-"}},
    ):
        with pytest.raises(bnn.UsageError, match="standard output"):
            bnn.prune(vgg, train_path, **QUICK, **options)
    with pytest.raises(bnn.UsageError, match="output"):
        bnn.convert(vgg, "packed", output="-")
    with pytest.raises(bnn.UsageError, match="path"):
        bnn.eliminate(vgg).save("-")
    # Nor is a device, from which nothing comes back.
    if os.path.exists("/dev/null"):
        with pytest.raises(bnn.UsageError, match="is no file"):
            bnn.prune(vgg, train_path, report="/dev/null", **QUICK)
    assert capfd.readouterr().out == ""


def test_settings_in_files(vgg, test_path, tmp_path):
    missing = tmp_path / "none"
    with pytest.raises(bnn.UsageError) as found:
        bnn.eliminate(vgg, config=missing)
    assert found.value.file == str(missing)
    with pytest.raises(bnn.UsageError) as found:
        bnn.eliminate(vgg, config={"rato": 0.5})
    assert found.value.file is None and "'rato'" in str(found.value)
    for options in ({"preprocessor": missing}, {"config": {"preprocessor": str(missing)}}):
        with pytest.raises(bnn.UsageError, match="cannot be read"):
            bnn.eliminate(vgg, test_path, **options)
    (tmp_path / "preprocessor_config.json").write_text("[]")
    with pytest.raises(bnn.UsageError, match="is no preprocessor"):
        bnn.evaluate(vgg, test_path, preprocessor=tmp_path)
    # Images in the same folder are images.
    (tmp_path / "preprocessor_config.json").write_text("{}")
    with pytest.raises(bnn.DataError):
        bnn.evaluate(vgg, missing, preprocessor=tmp_path)


def test_what_would_do_something_else_is_refused(vgg, train_path):
    with pytest.raises(bnn.UsageError, match="no method"):
        bnn.eliminate(vgg, train_path, method="random")
    with pytest.raises(bnn.UsageError, match="mean is an empty list"):
        bnn.prune(vgg, train_path, mean=[], **QUICK)
    with pytest.raises(bnn.UsageError, match="max_drop|max-drop"):
        bnn.prune(vgg, train_path, **{**QUICK, "max_drop": float("-inf")})


def test_a_missing_folder_for_the_cache_stops_nothing(vgg, digits, tmp_path):
    with pytest.warns(bnn.BnnpruneWarning, match="cache_dir: .*none"):
        result = bnn.prune(vgg, digits, cache_dir=tmp_path / "none", **QUICK)
    assert result.report["verification"]["passed"]


def test_a_missing_runtime(vgg, tmp_path):
    with pytest.raises(bnn.RuntimeMissingError) as found:
        bnn.eliminate(vgg, ort_lib=tmp_path)
    assert found.value.exit_code == 3
    assert "pip install onnxruntime" in found.value.remedy


def test_a_budget_that_is_not_met(vgg, train_path, tmp_path):
    out = tmp_path / "out.onnx"
    options = {**QUICK, "ratio": 0.7, "final_epochs": 0, "max_drop": 0.0}
    with pytest.raises(bnn.BudgetExceeded) as found:
        bnn.prune(vgg, train_path, output=out, **options)
    assert found.value.exit_code == 1
    assert found.value.report["budget"]["met"] is False
    assert found.value.remedy.startswith("prune less")
    assert not out.exists()
    with pytest.raises(bnn.BudgetExceeded) as found:
        bnn.prune(vgg, train_path, **options)
    assert "was not written" not in str(found.value)
    # Nor can the report be written, in whose place an old one lies.
    gone = tmp_path / "gone"
    gone.mkdir()

    def end(*_):
        shutil.rmtree(gone, ignore_errors=True)

    with pytest.raises(bnn.BudgetExceeded, match="cannot be written") as found:
        bnn.prune(vgg, train_path, report=gone / "report.json", progress=end, **options)
    assert found.value.report is None


def test_a_checkpoint_of_another_run(vgg, train_path, tmp_path):
    folder = tmp_path / "checkpoint"

    class Enough(Exception):
        pass

    def stop(phase, done, total, detail):
        if "mask" in detail + phase and done:
            raise Enough

    options = {**QUICK, "mask_epochs": 20, "checkpoint": folder, "checkpoint_every": 0}
    with pytest.raises(Enough):
        bnn.prune(vgg, train_path, progress=stop, **options)
    assert (folder / "checkpoint.bin").exists()
    with pytest.raises(bnn.CheckpointError, match="another run") as found:
        bnn.prune(vgg, train_path, **{**options, "seed": 4})
    assert found.value.file.startswith(str(folder))


def test_a_defect_is_an_exception_like_others(vgg, monkeypatch):
    monkeypatch.setattr(_native, "call", lambda *_: _native.panic())
    with pytest.raises(bnn.InternalError, match="as asked for") as found:
        bnn.eliminate(vgg)
    assert found.value.exit_code == 101


def test_temporary_files_are_gone(vgg, digits, tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(bnn.UsageError):
        bnn.prune(vgg, digits, ratio=2)
    assert not list(tmp_path.iterdir())
    result = bnn.eliminate(open(vgg, "rb").read(), digits)
    (folder,) = tmp_path.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["model.onnx", "page.html", "report.json"]
    del result
    assert not list(tmp_path.iterdir())
