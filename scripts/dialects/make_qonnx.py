"""Writes QONNX fixtures of forms that no exporter at hand writes from a network of one bit, as
edits of what Brevitas wrote; the golden output is that of qonnx's own executor.

    python scripts/dialects/make_qonnx.py fixtures/dialects
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

import common
from make_brevitas import execute

DOMAIN = "qonnx.custom_op.general"


class Edit:
    """A model whose constants and nodes are replaced."""

    def __init__(self, source: Path):
        self.model = onnx.load(source)
        self.graph = self.model.graph
        self.constants = {t.name for t in self.graph.initializer}

    def constant(self, name: str, value) -> str:
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def bipolar(self, activations: bool) -> list[onnx.NodeProto]:
        """The BipolarQuant nodes of activations, or of weights."""
        return [n for n in self.graph.node
                if n.op_type == "BipolarQuant" and (n.input[0] not in self.constants) == activations]

    def before(self, node: onnx.NodeProto, new: onnx.NodeProto) -> None:
        """`new` goes between `node` and its first input."""
        new.input[0] = node.input[0]
        node.input[0] = new.output[0]
        self.graph.node.insert(list(self.graph.node).index(node), new)


def one_bit(edit: Edit) -> None:
    """`Quant` of one signed bit in place of each BipolarQuant."""
    zero, bits = edit.constant("zero", 0), edit.constant("bits", 1)
    for node in edit.bipolar(True) + edit.bipolar(False):
        node.op_type = "Quant"
        node.input.extend([zero, bits])
        node.attribute.extend([helper.make_attribute("signed", 1), helper.make_attribute("narrow", 0),
                               helper.make_attribute("rounding_mode", "ROUND")])


def per_channel(edit: Edit) -> None:
    """A scale for each channel of the activations."""
    for i, node in enumerate(edit.bipolar(True)):
        channels = (6, 8)[i]
        scale = np.linspace(0.5, 1.5, channels).reshape(1, channels, 1, 1)
        node.input[1] = edit.constant(f"per_channel_{i}", scale)


def truncated(version: int):
    """Eight bits, and four of them, in front of the first binariser."""
    def apply(edit: Edit) -> None:
        step, zero, eight, four = (edit.constant(n, v) for n, v in
                                   (("step", 1 / 32), ("zero", 0), ("eight", 8), ("four", 4)))
        node = edit.bipolar(True)[0]
        info = next(v for v in edit.graph.value_info if v.name == node.input[0])
        for name in ("eight_bits", "four_bits"):
            copy = edit.graph.value_info.add()
            copy.CopyFrom(info)
            copy.name = name
        edit.before(node, helper.make_node("Quant", ["", step, zero, eight], ["eight_bits"], "eight_bits", domain=DOMAIN,
                                           signed=1, narrow=0, rounding_mode="ROUND"))
        inputs, more = ["", step, zero, eight, four], {}
        if version == 2:
            inputs, more = ["", step, zero, eight, edit.constant("coarse", 0.5), four], {"signed": 1, "narrow": 0}
        edit.before(node, helper.make_node("Trunc", inputs, ["four_bits"], "four_bits", domain=DOMAIN,
                                           rounding_mode="FLOOR", **more))
        next(o for o in edit.model.opset_import if o.domain == DOMAIN).version = version
    return apply


def main(folder: Path) -> None:
    declined = {"binary": 0, "binarizer": None, "zero": None, "scale": None}
    rows = {
        "quant_one_bit": ("brevitas_per_filter", one_bit, {"binarizer": "quant-1", "scale": "per-filter"}),
        "bipolar_per_channel": ("brevitas_conv", per_channel, {**declined, "declined": "a scale of its own for each channel"}),
        "trunc_1": ("brevitas_conv", truncated(1), {"binarizer": "bipolar-quant", "scale": "uniform"}),
        "trunc_2": ("brevitas_conv", truncated(2), {"binarizer": "bipolar-quant", "scale": "uniform"}),
    }
    for name, (source, change, expect) in rows.items():
        edit = Edit(folder / f"{source}.clean.onnx")
        change(edit)
        path = folder / f"{name}.edited.onnx"
        onnx.save(edit.model, path)
        common.finish(path, {"zero": 1, "binary": 2, "dialect": "QONNX (Brevitas)", **expect}, run=execute)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
