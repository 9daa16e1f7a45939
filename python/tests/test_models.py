"""Models larger than one message, without as much memory."""

import onnx
import onnx_bnnprune as bnn
import pytest
from conftest import FIXTURES
from onnx_bnnprune import _model


def test_a_model_that_one_message_cannot_hold_goes_through_external_data(vgg, tmp_path, monkeypatch):
    monkeypatch.setattr(_model, "MOST_INLINE", 1 << 10)
    model = onnx.load(vgg)
    before = model.SerializeToString()
    path = _model.file_of(model, str(tmp_path), "model")
    assert (tmp_path / "model.onnx.data").stat().st_size > 100_000
    assert (tmp_path / "model.onnx").stat().st_size < 30_000
    assert model.SerializeToString() == before, "the user's model is as it was"
    assert onnx.load(path).SerializeToString() != b""
    found, expected = bnn.inspect(path), bnn.inspect(vgg)
    assert found["layers"] == expected["layers"]
    result = bnn.apply_masks(model, {"/conv2/Conv": [1, 2]})
    expected = bnn.apply_masks(vgg, {"/conv2/Conv": [1, 2]})
    # The metadata names the file that was read by its hash, and this is another one.
    assert result.model.graph == expected.model.graph


def test_weights_that_are_not_loaded_are_missed(vgg, tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save_model(onnx.load(vgg), path, save_as_external_data=True, size_threshold=100)
    assert bnn.inspect(path)["layers"] == bnn.inspect(vgg)["layers"]
    shell = onnx.load(path, load_external_data=False)
    with pytest.raises(bnn.ModelError, match="not loaded") as found:
        bnn.inspect(shell)
    assert "give the model's path" in found.value.remedy


EXPORTS = [
    *(f"{form}.{exporter}" for form in ("sign", "dense", "xnor") for exporter in ("script", "dynamo")),
    "brevitas_conv.qonnx",
    "xnor.external",
]


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_of_pytorch_and_brevitas(name):
    """Real exports by both exporters of torch: a filter less, and back as a ``ModelProto``."""
    path = FIXTURES / "dialects" / f"{name}.onnx"
    layers = bnn.inspect(path)["layers"]
    layer = next(layer for layer in layers if layer["prunable"] and layer["filters"] > 1)
    result = bnn.apply_masks(onnx.load(path), {layer["name"]: [0]})
    assert result.report["verification"]["passed"]
    assert len(result.kept[layer["name"]]) == layer["filters"] - 1
    assert len(result.model.SerializeToString()) > 0
