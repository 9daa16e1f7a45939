"""Writes the QONNX fixtures: Brevitas networks, before and after qonnx's clean-up; the golden
output is that of qonnx's own executor.

    python scripts/dialects/make_brevitas.py fixtures/dialects
"""

import sys
from pathlib import Path

import brevitas.nn as qnn
import torch
from brevitas.core.scaling import ScalingImplType
from brevitas.export import export_qonnx
from brevitas.inject.enum import QuantType
from brevitas.quant import (
    Int8ActPerTensorFloat,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
    Uint8ActPerTensorFloat,
)
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.util.cleanup import cleanup_model
from torch import nn

import common
from torch_networks import batch_norm


class PerFilter(SignedBinaryWeightPerTensorConst):
    """One scale for each filter: the mean of |W|."""

    scaling_impl_type = ScalingImplType.STATS
    scaling_stats_op = "ave"
    scaling_per_output_channel = True


def conv(inputs: int, filters: int, quant) -> nn.Module:
    return qnn.QuantConv2d(inputs, filters, 3, padding=1, bias=False, weight_quant=quant)


def act() -> nn.Module:
    return qnn.QuantIdentity(act_quant=SignedBinaryActPerTensorConst)


def network(quant, first=nn.Identity) -> nn.Module:
    return nn.Sequential(
        first(), nn.Conv2d(3, 6, 3, padding=1, bias=False), batch_norm(6),
        act(), conv(6, 8, quant), batch_norm(8), nn.MaxPool2d(2),
        act(), conv(8, 8, quant), batch_norm(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    ).eval()


def truncated() -> nn.Module:
    """Average pooling of eight-bit activations, which Brevitas exports with `Trunc`."""
    quant = SignedBinaryWeightPerTensorConst
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False), batch_norm(6),
        qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, return_quant_tensor=True), qnn.TruncAvgPool2d(2), batch_norm(6),
        act(), conv(6, 8, quant), batch_norm(8),
        act(), conv(8, 8, quant), batch_norm(8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    ).train()
    with torch.no_grad():
        net(torch.randn(16, 3, 8, 8))  # the quantiser's range
    return net.eval()


def dense(quant) -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(192, 16), batch_norm(16, nn.BatchNorm1d),
        act(), qnn.QuantLinear(16, 24, bias=False, weight_quant=quant), batch_norm(24, nn.BatchNorm1d),
        act(), qnn.QuantLinear(24, 16, bias=False, weight_quant=quant), batch_norm(16, nn.BatchNorm1d), nn.Linear(16, 10),
    ).eval()


def execute(path: Path, x):
    model = ModelWrapper(str(path))
    inputs = {model.graph.input[0].name: x}
    return execute_onnx(model, inputs)[model.graph.output[0].name]


def main(folder: Path) -> None:
    torch.manual_seed(0)
    const = SignedBinaryWeightPerTensorConst
    eight = lambda: qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat)
    rows = {
        "brevitas_conv": (network(const), "uniform"),
        "brevitas_input8": (network(const, eight), "uniform"),
        "brevitas_per_filter": (network(PerFilter), "per-filter"),
        "brevitas_dense": (dense(const), "uniform"),
        "brevitas_trunc": (truncated(), "uniform"),
    }
    for name, (net, scale) in rows.items():
        expect = {"binarizer": "bipolar-quant", "zero": 1, "scale": scale, "binary": 2, "dialect": "QONNX (Brevitas)"}
        raw = folder / f"{name}.qonnx.onnx"
        try:
            with torch.no_grad():
                net(torch.randn(4, 3, 8, 8))
                export_qonnx(net, args=torch.randn(1, 3, 8, 8), export_path=str(raw))
            common.finish(raw, expect, run=execute)
            raw.with_name(raw.name + ".data").unlink(missing_ok=True)  # weights are inline now
            clean = folder / f"{name}.clean.onnx"
            cleanup_model(ModelWrapper(str(raw))).save(str(clean))
            common.finish(clean, expect, run=execute)
        except Exception as e:
            print(f"{name}: {type(e).__name__}: {str(e).splitlines()[:1]}", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
