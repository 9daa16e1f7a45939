"""Small networks with masks, and what they compute where the masked filters are gone."""

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Of each layer's filters.
SHARE = 0.4


@dataclass
class Network:
    """A network under construction; `masks` are the filters to prune, by layer.

    With `meaning` the masked filters are multiplied by 0 behind the layer itself; in `drop` also
    behind its activation, where the next layer reads.
    """

    image: tuple[int, int, int]
    meaning: str | None = None
    masks: dict[str, list[int]] = field(default_factory=dict)
    filters: dict[str, int] = field(default_factory=dict)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(2019))

    def conv(self, source: str, name: str, shape: tuple[int, int, int], bias: bool = False) -> str:
        """A convolution that keeps the size; `shape` is outputs, inputs, kernel."""
        outputs, inputs, kernel = shape
        weight = self._normal((outputs, inputs, kernel, kernel), (2 / (inputs * kernel**2)) ** 0.5)
        read = [source, self._add(f"{name}.weight", weight)]
        if bias:
            read.append(self._add(f"{name}.bias", self._normal((outputs,), 0.5)))
        pads = [kernel // 2] * 4
        self.nodes.append(helper.make_node("Conv", read, [name], name=name, pads=pads))
        self.filters[name] = outputs
        return name

    def activation(self, source: str, op: str, norm: bool = True) -> str:
        """BatchNormalization and an activation behind a masked layer."""
        count = self.filters[source]
        gone = self.random.choice(count, round(SHARE * count), replace=False)
        self.masks[source] = sorted(gone.tolist())
        x = self._masked(source, source) if self.meaning else source
        if norm:
            values = [
                self.random.uniform(0.5, 1.5, count),
                self._normal((count,), 0.5),
                self._normal((count,), 0.5),
                self.random.uniform(0.5, 1.5, count),
            ]
            kinds = ["scale", "shift", "mean", "variance"]
            names = [self._add(f"{source}.{k}", v) for k, v in zip(kinds, values, strict=True)]
            x = self.node("BatchNormalization", [x, *names], f"{source}.norm")
        x = self.node(op, [x], f"{source}.{op.lower()}")
        return self._masked(source, x) if self.meaning == "drop" else x

    def node(self, op: str, read: list[str], name: str, **attributes: int) -> str:
        """Any other node, of one output."""
        self.nodes.append(helper.make_node(op, read, [name], name=name, **attributes))
        return name

    def model(self, output: str) -> onnx.ModelProto:
        """The finished model; the batch is 1, which qonnx's shape inference needs."""
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, *self.image])
        logits = helper.make_tensor_value_info(
            output, TensorProto.FLOAT, [1, self.filters[output], *self.image[1:]]
        )
        stored = [numpy_helper.from_array(value, name) for name, value in self.weights.items()]
        graph = helper.make_graph(self.nodes, "network", [image], [logits], stored)
        opset = [helper.make_opsetid("", 13)]
        return helper.make_model(graph, opset_imports=opset, ir_version=8)

    def _add(self, name: str, value: np.ndarray) -> str:
        self.weights[name] = np.asarray(value, np.float32)
        return name

    def _normal(self, shape: tuple[int, ...], size: float) -> np.ndarray:
        return self.random.standard_normal(shape, np.float32) * size

    def _masked(self, layer: str, tensor: str) -> str:
        keep = np.ones((1, self.filters[layer], 1, 1), np.float32)
        keep[:, self.masks[layer]] = 0
        return self.node("Mul", [tensor, self._add(f"{layer}.keep", keep)], f"{tensor}.masked")


def _chain(net: Network, width: int, layers: int, op: str = "Relu", bias: bool = False) -> str:
    x, read = "image", net.image[0]
    for number in range(1, layers + 1):
        conv = net.conv(x, f"conv{number}", (width, read, 3), bias)
        x, read = net.activation(conv, op, norm=not bias), width
    return net.conv(x, "classifier", (10, width, 1))


def _concat(net: Network) -> str:
    stem = net.activation(net.conv("image", "stem", (32, 3, 3)), "Relu")
    left = net.activation(net.conv(stem, "left", (24, 32, 1)), "Relu")
    right = net.activation(net.conv(stem, "right", (40, 32, 3)), "Relu")
    both = net.node("Concat", [left, right], "both", axis=1)
    return net.conv(both, "classifier", (10, 64, 1))


def _residual(net: Network) -> str:
    stem = net.activation(net.conv("image", "stem", (32, 3, 3)), "Relu")
    inner = net.activation(net.conv(stem, "inner", (48, 32, 3)), "Relu")
    branch = net.conv(inner, "branch", (32, 48, 3))
    # Read as it is also in `drop`: a pruned channel of the stream lives on through the branch.
    total = net.node("Add", [branch, "stem.relu"], "sum")
    return net.conv(total, "classifier", (10, 32, 1))


SMALL = (3, 16, 16)
NETWORKS = {
    "Conv-BN-Relu": (SMALL, lambda net: _chain(net, 32, 4)),
    "Conv with bias, Relu": (SMALL, lambda net: _chain(net, 32, 4, bias=True)),
    "Conv-BN-Sign": (SMALL, lambda net: _chain(net, 32, 4, op="Sign")),
    "Concat of two branches": (SMALL, _concat),
    "residual Add": (SMALL, _residual),
    "Conv-BN-Relu, 100 MB": ((480, 7, 7), lambda net: _chain(net, 480, 12)),
}


def build(name: str, meaning: str | None = None) -> tuple[Network, onnx.ModelProto]:
    """A network and its model: as it is, or as `drop` or `fold` mean it."""
    image, make = NETWORKS[name]
    net = Network(image, meaning)
    return net, net.model(make(net))
