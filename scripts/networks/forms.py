#!/usr/bin/env python3
"""Writes one trained binary network in the forms in which such networks are deployed.

    scripts/networks/forms.py IN.onnx FOLDER

IN has live latents and BatchNormalizations, one behind each binary layer (a MaxPool may stand between), and
a Sign in front of each. FOLDER gets, all of them the same function:

- `training.onnx`: as it is;
- `folded.onnx`: the BatchNormalization folded into weights and bias where no pool is between, else a scale
  and a shift;
- `thresholds.onnx`: weights ±1, one real threshold a channel, no scale; a negative factor turns the next
  layer's input;
- `qonnx.onnx`: BipolarQuant of weights (with their scale) and activations.

The fifth form, whole thresholds, is the tool's own: `onnx-bnnprune IN integer.onnx --method none --normalise`.
"""

import copy
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

QONNX = "qonnx.custom_op.general"


class Network:
    """A model with its constants evaluated."""

    def __init__(self, path):
        self.model = onnx.load(path)
        self.graph = self.model.graph
        self.producer = {name: n for n in self.graph.node for name in n.output}
        self.readers = {}
        for node in self.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.constants = self._constants()
        self.layers = [layer for n in self.graph.node if (layer := self._layer(n))]

    def _constants(self):
        known = {i.name: numpy_helper.to_array(i) for i in self.graph.initializer}
        fixed, wanted = set(known), []
        for node in self.graph.node:
            if node.op_type == "Constant" or all(x in fixed for x in node.input):
                fixed.update(node.output)
                wanted += node.output
        model = copy.deepcopy(self.model)
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in wanted)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        feed = {}
        for i in session.get_inputs():
            shape = [d if isinstance(d, int) else 1 for d in i.shape]
            feed[i.name] = np.zeros(shape, np.float32)
        return known | dict(zip(wanted, session.run(wanted, feed)))

    def _layer(self, node):
        """Layer, pool, BatchNormalization and Sign of a binary layer."""
        if node.op_type not in ("Conv", "Gemm") or node.input[0] not in self.producer:
            return None
        if self.producer[node.input[0]].op_type not in ("Sign", "Flatten"):
            return None
        w = self.constants[node.input[1]]
        if not np.allclose(np.abs(w), np.abs(w).reshape(len(w), -1).mean(1).reshape(-1, *[1] * (w.ndim - 1))):
            return None
        after, pool = self.readers[node.output[0]][0], None
        if after.op_type == "MaxPool":
            pool, after = after, self.readers[after.output[0]][0]
        if after.op_type != "BatchNormalization":
            return None
        return node, pool, after

    def affine(self, norm):
        """Factor and shift of each channel."""
        gamma, beta, mean, variance = (self.constants[n].astype(np.float64) for n in norm.input[1:5])
        epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
        factor = gamma / np.sqrt(variance + epsilon)
        return factor, beta - factor * mean

    def set(self, node, index, name, value):
        """Makes input `index` of a node a constant of its own."""
        self.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
        if index == len(node.input):
            node.input.append(name)
        node.input[index] = name

    def replace(self, old, *new):
        """Puts nodes in the place of one."""
        at = list(self.graph.node).index(old)
        self.graph.node.remove(old)
        for k, node in enumerate(new):
            self.graph.node.insert(at + k, node)

    def save(self, path):
        """Writes the model without what nobody reads."""
        while True:
            read = {n for node in self.graph.node for n in node.input} | {o.name for o in self.graph.output}
            idle = [n for n in self.graph.node if not any(o in read for o in n.output)]
            if not idle:
                break
            for node in idle:
                self.graph.node.remove(node)
        kept = [i for i in self.graph.initializer if i.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)
        del self.graph.value_info[:]
        onnx.save(self.model, path)


def column(values, rank):
    return values.reshape(-1, *[1] * (rank - 1))


def folded(network):
    for number, (layer, pool, norm) in enumerate(network.layers):
        factor, shift = network.affine(norm)
        w = network.constants[layer.input[1]].astype(np.float64)
        if pool is None:
            network.set(layer, 1, f"w{number}", w * column(factor, w.ndim))
            network.set(layer, 2, f"b{number}", shift)
            for reader in network.readers[norm.output[0]]:
                reader.input[:] = [layer.output[0] if n == norm.output[0] else n for n in reader.input]
            network.graph.node.remove(norm)
            continue
        network.set(layer, 1, f"w{number}", w)
        scale_and_shift(network, norm, number, (factor, shift), (1, -1, *[1] * (w.ndim - 2)))


def thresholds(network):
    turned = None
    for number, (layer, _, norm) in enumerate(network.layers):
        factor, shift = network.affine(norm)
        w = network.constants[layer.input[1]].astype(np.float64)
        size = np.abs(w).reshape(len(w), -1).mean(1)
        w = np.sign(w)
        if turned is not None:
            w = w * turned.reshape(1, -1, *[1] * (w.ndim - 2))
        network.set(layer, 1, f"w{number}", w)
        shape = (1, -1, *[1] * (w.ndim - 2))
        if any(n.op_type == "Sign" for n in network.readers[norm.output[0]]):
            add = helper.make_node("Sub", [norm.input[0], f"t{number}"], [norm.output[0]])
            network.set(add, 1, f"t{number}", (-shift / (factor * size)).reshape(shape))
            network.replace(norm, add)
            turned = np.sign(factor)
        else:
            # What follows is real.
            scale_and_shift(network, norm, number, (factor * size, shift), shape)
            turned = None
    if turned is not None:
        raise SystemExit("the last binary layer ends in a Sign, whose reader is not known here")


def scale_and_shift(network, norm, number, values, shape):
    scale = helper.make_node("Mul", [norm.input[0], f"s{number}"], [f"scaled{number}"])
    add = helper.make_node("Add", [f"scaled{number}", f"b{number}"], [norm.output[0]])
    network.set(scale, 1, f"s{number}", values[0].reshape(shape))
    network.set(add, 1, f"b{number}", values[1].reshape(shape))
    network.replace(norm, scale, add)


def qonnx(network):
    if all(o.domain != QONNX for o in network.model.opset_import):
        network.model.opset_import.append(helper.make_opsetid(QONNX, 1))
    for number, (layer, _, _) in enumerate(network.layers):
        w = network.constants[layer.input[1]]
        quant = helper.make_node("BipolarQuant", ["", ""], [f"q{number}"], domain=QONNX)
        network.set(quant, 0, f"w{number}", w)
        network.set(quant, 1, f"s{number}", column(np.abs(w).reshape(len(w), -1).mean(1), w.ndim))
        at = list(network.graph.node).index(layer)
        network.graph.node.insert(at, quant)
        layer.input[1] = f"q{number}"
    network.graph.initializer.append(numpy_helper.from_array(np.float32(1.0), "one"))
    for node in list(network.graph.node):
        if node.op_type == "Sign" and node.input[0] not in network.constants:
            network.replace(node, helper.make_node("BipolarQuant", [node.input[0], "one"], node.output, domain=QONNX))


def main():
    source, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for name, form in [("training", None), ("folded", folded), ("thresholds", thresholds), ("qonnx", qonnx)]:
        network = Network(source)
        print(f"{name}: {len(network.layers)} binary layers")
        if form:
            form(network)
        network.save(folder / f"{name}.onnx")


if __name__ == "__main__":
    main()
