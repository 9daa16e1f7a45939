"""torch's two exporters, with a dynamic batch."""

import logging
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn

EXPORTERS = ["torchscript", "dynamo"]


def export(model: nn.Module, size: int, exporter: str, path: Path) -> None:
    """Writes the model as ONNX with input `input` [batch, 3, size, size] and output `output`."""
    example = torch.randn(2, 3, size, size)
    names = {"input_names": ["input"], "output_names": ["output"]}
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        if exporter == "torchscript":
            torch.onnx.export(
                model, (example,), path, dynamo=False, opset_version=17, **names,
                dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
            )
        else:
            batch = torch.export.Dim("batch", min=1, max=64)
            torch.onnx.export(
                model, (example,), path, dynamo=True, external_data=False, verbose=False, **names,
                dynamic_shapes=({0: batch},),
            )
    onnx.checker.check_model(path, full_check=True)
