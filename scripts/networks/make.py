#!/usr/bin/env python3
"""The paper's networks for CIFAR-10 and ImageNet with random weights, to be trained by `onnx-bnnprune train`.

Binarised NIN, VGG-11 and ResNet-18 (Bi-Real form: a shortcut around every binary convolution), at
any width. First and last layers are in float. Binary weights are computed in the graph from
latent weights, as an export of training code has them: Mul(Sign(W), ReduceMean(Abs(W))).

    pip install onnx numpy
    scripts/networks/make.py nin --width 0.5 -o nin_w50.onnx
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8


class Builder:
    """Adds layers one behind another; `at` is the tensor that the next one reads."""

    def __init__(self, seed: int, classes: int, side: int):
        self.classes, self.side = classes, side
        self.random = np.random.default_rng(seed)
        self.nodes, self.initializers = [], []
        self.at, self.channels = "image", 3

    def constant(self, name: str, value) -> str:
        value = np.asarray(value, np.float32)
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def node(self, op: str, inputs: list[str], name: str, **attributes) -> str:
        output = f"{name}_out"
        self.nodes.append(helper.make_node(op, inputs, [output], name=name, **attributes))
        return output

    def apply(self, op: str, name: str, *inputs: str, **attributes) -> None:
        self.at = self.node(op, [self.at, *inputs], name, **attributes)

    def weights(self, name: str, shape: tuple[int, ...]) -> str:
        bound = 1 / np.sqrt(np.prod(shape[1:]))
        return self.constant(name, self.random.uniform(-bound, bound, shape))

    def conv(self, name: str, filters: int, kernel: int, stride: int = 1, bias: bool = True) -> None:
        """A convolution in float."""
        inputs = [self.weights(f"{name}.weight", (filters, self.channels, kernel, kernel))]
        if bias:
            inputs.append(self.constant(f"{name}.bias", np.zeros(filters)))
        self._conv(name, inputs, filters, kernel, stride)

    def binary_conv(self, name: str, filters: int, kernel: int, stride: int = 1) -> None:
        """A convolution of ±1 with the weights sign(W) · mean|W| of each filter."""
        latent = self.weights(f"{name}.weight", (filters, self.channels, kernel, kernel))
        signs = self.node("Sign", [latent], f"{name}.weight/Sign")
        sizes = self.node("Abs", [latent], f"{name}.weight/Abs")
        scale = self.node("ReduceMean", [sizes], f"{name}.weight/ReduceMean", axes=[1, 2, 3], keepdims=1)
        weight = self.node("Mul", [signs, scale], f"{name}.weight/Mul")
        self._conv(name, [weight], filters, kernel, stride)

    def _conv(self, name: str, inputs: list[str], filters: int, kernel: int, stride: int) -> None:
        pads, shape, strides = [kernel // 2] * 4, [kernel] * 2, [stride] * 2
        self.apply("Conv", f"{name}/Conv", *inputs, kernel_shape=shape, pads=pads, strides=strides)
        self.channels = filters

    def norm(self, name: str) -> None:
        ones, zeros = np.ones(self.channels), np.zeros(self.channels)
        values = {"scale": ones, "shift": zeros, "mean": zeros, "variance": ones}
        names = [self.constant(f"{name}.{key}", value) for key, value in values.items()]
        self.apply("BatchNormalization", f"{name}/BatchNormalization", *names, epsilon=1e-5)

    def pool(self, op: str, name: str, kernel: int, stride: int, padding: int = 0) -> None:
        shape, strides, pads = [kernel] * 2, [stride] * 2, [padding] * 4
        self.apply(op, f"{name}/{op}", kernel_shape=shape, strides=strides, pads=pads)

    def classify(self) -> None:
        """Global average pooling and a fully connected layer in float."""
        self.apply("GlobalAveragePool", "pool/GlobalAveragePool")
        self.apply("Flatten", "flatten/Flatten")
        weight = self.weights("classifier.weight", (self.classes, self.channels))
        bias = self.constant("classifier.bias", np.zeros(self.classes))
        self.apply("Gemm", "classifier/Gemm", weight, bias, transB=1)

    def model(self, name: str) -> onnx.ModelProto:
        self.nodes[-1].output[0] = "logits"
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, self.side, self.side])
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", self.classes])
        graph = helper.make_graph(self.nodes, name, [image], [logits], self.initializers)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="scripts/networks")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model


def nin(net: Builder, width) -> None:
    """Network in Network: BatchNormalization, sign, convolution, Relu, as in the paper."""
    net.conv("stem", width(192), 5)
    net.norm("stem/norm")
    net.apply("Relu", "stem/Relu")
    blocks = [(160, 1), (96, 1), "MaxPool", (192, 5), (192, 1), (192, 1), "AveragePool", (192, 3), (192, 1)]
    index = 0
    for block in blocks:
        if isinstance(block, str):
            net.pool(block, f"pool{index}", 3, 2, 1)
            continue
        index += 1
        filters, kernel = block
        net.norm(f"block{index}/norm")
        net.apply("Sign", f"block{index}/Sign")
        net.binary_conv(f"block{index}", width(filters), kernel)
        net.apply("Relu", f"block{index}/Relu")
    net.norm("norm")
    net.conv("classifier", net.classes, 1)
    net.apply("GlobalAveragePool", "pool/GlobalAveragePool")
    net.apply("Flatten", "flatten/Flatten")


def vgg11(net: Builder, width) -> None:
    """VGG-11: pooling in front of BatchNormalization."""
    net.conv("stem", width(64), 3)
    net.pool("MaxPool", "stem", 2, 2)
    net.norm("stem/norm")
    plan = [(128, True), (256, False), (256, True), (512, False), (512, True), (512, False), (512, True)]
    for index, (filters, pooled) in enumerate(plan, 1):
        net.apply("Sign", f"conv{index}/Sign")
        net.binary_conv(f"conv{index}", width(filters), 3)
        if pooled:
            net.pool("MaxPool", f"conv{index}", 2, 2)
        net.norm(f"conv{index}/norm")
    net.classify()


def resnet18(net: Builder, width) -> None:
    """ResNet-18 with a shortcut around every binary convolution (Liu et al., Bi-Real Net, 2018)."""
    net.conv("stem", width(64), 3, bias=False)
    net.norm("stem/norm")
    bi_real_stages(net, width)


def resnet18_imagenet(net: Builder, width) -> None:
    """The same with the stem for ImageNet: 7x7 with stride 2, and pooling behind it."""
    net.conv("stem", width(64), 7, 2, bias=False)
    net.norm("stem/norm")
    net.pool("MaxPool", "stem", 3, 2, 1)
    bi_real_stages(net, width)


def bi_real_stages(net: Builder, width) -> None:
    """Four stages of four binary convolutions, and the classifier."""
    for stage, filters in enumerate([64, 128, 256, 512], 1):
        for index in range(1, 5):
            name = f"stage{stage}/conv{index}"
            stride = 2 if index == 1 and stage > 1 else 1
            shortcut, channels = net.at, net.channels
            net.apply("Sign", f"{name}/Sign")
            net.binary_conv(name, width(filters), 3, stride)
            net.norm(f"{name}/norm")
            branch = net.at
            if stride == 2:
                net.at, net.channels = shortcut, channels
                net.pool("AveragePool", f"{name}/shortcut", 2, 2)
                net.conv(f"{name}/shortcut", width(filters), 1, bias=False)
                net.norm(f"{name}/shortcut/norm")
                shortcut = net.at
            net.at = net.node("Add", [branch, shortcut], f"{name}/Add")
    net.classify()


NETWORKS = {"nin": nin, "vgg11": vgg11, "resnet18": resnet18, "resnet18_imagenet": resnet18_imagenet}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--width", type=float, default=1.0, help="factor on all widths")
    parser.add_argument("--classes", type=int, help="10, or 1000 for ImageNet")
    parser.add_argument("--side", type=int, help="of an image: 32, or 224 for ImageNet")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights")
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    large = args.network.endswith("imagenet")
    classes, side = args.classes or (1000 if large else 10), args.side or (224 if large else 32)
    net = Builder(args.seed, classes, side)
    NETWORKS[args.network](net, lambda filters: max(1, round(filters * args.width)))
    onnx.save(net.model(args.network), args.output)


if __name__ == "__main__":
    main()
