"""Binary networks: float first and last layers, binary ones between."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from binary import ConstantConv, LatentConv, LatentLinear, RPReLU, Shift, Sign, WhereSign
from floats import CLASSES


def _stem(filters: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, filters, 3, stride, padding=1, bias=False), nn.BatchNorm2d(filters)
    )


def _head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES)]


def nin(width: int = 24) -> nn.Module:
    """The paper's NIN: BatchNormalization, sign, convolution, Relu."""

    def block(inputs: int, filters: int, kernel: int) -> nn.Module:
        return nn.Sequential(
            nn.BatchNorm2d(inputs), Sign(), LatentConv(inputs, filters, kernel), nn.ReLU()
        )

    return nn.Sequential(
        nn.Conv2d(3, width, 5, padding=2), nn.BatchNorm2d(width), nn.ReLU(),
        block(width, 2 * width, 1), block(2 * width, width, 1), nn.MaxPool2d(3, 2, padding=1),
        block(width, 2 * width, 5), block(2 * width, 2 * width, 1), nn.AvgPool2d(3, 2, padding=1),
        block(2 * width, 2 * width, 3), block(2 * width, 2 * width, 1),
        nn.BatchNorm2d(2 * width), nn.Conv2d(2 * width, CLASSES, 1), nn.ReLU(),
        nn.AvgPool2d(8), nn.Flatten(),
    )


def binary_vgg(width: int = 16) -> nn.Module:
    """Convolution, pooling, BatchNormalization, sign; binary fully connected layers."""

    def block(inputs: int, filters: int, pool: bool, conv: type) -> list[nn.Module]:
        layers: list[nn.Module] = [conv(inputs, filters, 3)]
        if pool:
            layers.append(nn.MaxPool2d(2))
        return [*layers, nn.BatchNorm2d(filters), nn.Hardtanh(), Sign()]

    w = width
    return nn.Sequential(
        _stem(w), Sign(), *block(w, 2 * w, True, LatentConv), *block(2 * w, 2 * w, False, LatentConv),
        *block(2 * w, 3 * w, True, ConstantConv), *block(3 * w, 4 * w, True, LatentConv),
        nn.Flatten(), LatentLinear(4 * w * 16, 64), nn.BatchNorm1d(64), WhereSign(),
        LatentLinear(64, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, CLASSES),
    )


class BiRealBlock(nn.Module):
    """Sign, binary convolution, BatchNormalization, and a shortcut around each of them."""

    def __init__(self, inputs: int, filters: int, stride: int = 1, conv: type = LatentConv):
        super().__init__()
        self.sign = Sign()
        self.conv = conv(inputs, filters, 3, stride)
        self.norm = nn.BatchNorm2d(filters)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != filters:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(2, stride), nn.Conv2d(inputs, filters, 1, bias=False),
                nn.BatchNorm2d(filters),
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(self.sign(x))) + self.shortcut(x)


def bi_real() -> nn.Module:
    """Bi-Real net: latent weights in the first half, constants in the second."""
    return nn.Sequential(
        _stem(16, 2), nn.MaxPool2d(3, 2, padding=1), BiRealBlock(16, 16), BiRealBlock(16, 16),
        BiRealBlock(16, 32, 2), BiRealBlock(32, 32), BiRealBlock(32, 48, 2, ConstantConv),
        BiRealBlock(48, 48, 1, ConstantConv), *_head(48),
    )


class BinaryBasicBlock(nn.Module):
    """Two binary convolutions under one shortcut (binary ResNet-18)."""

    def __init__(self, inputs: int, inner: int, filters: int, stride: int = 1):
        super().__init__()
        self.body = nn.Sequential(
            Sign(), LatentConv(inputs, inner, 3, stride), nn.BatchNorm2d(inner), nn.PReLU(inner),
            Sign(), LatentConv(inner, filters, 3), nn.BatchNorm2d(filters),
        )
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != filters:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, filters, 1, stride, bias=False), nn.BatchNorm2d(filters)
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


def binary_resnet18() -> nn.Module:
    """Binary ResNet-18 as in the paper."""
    return nn.Sequential(
        _stem(16), BinaryBasicBlock(16, 24, 16), BinaryBasicBlock(16, 24, 16),
        BinaryBasicBlock(16, 32, 24, 2), BinaryBasicBlock(24, 32, 24),
        BinaryBasicBlock(24, 48, 40, 2), BinaryBasicBlock(40, 48, 40), *_head(40),
    )


class ReActBlock(nn.Module):
    """ReActNet-A: shifted signs, RPReLU; two copies concatenated where channels double."""

    def __init__(self, inputs: int, filters: int, stride: int):
        super().__init__()
        self.move1, self.move2 = Shift(inputs), Shift(inputs)
        self.spatial = LatentConv(inputs, inputs, 3, stride)
        self.norm1 = nn.BatchNorm2d(inputs)
        self.act1 = RPReLU(inputs)
        copies = filters // inputs
        self.points = nn.ModuleList(LatentConv(inputs, inputs, 1) for _ in range(copies))
        self.norms = nn.ModuleList(nn.BatchNorm2d(inputs) for _ in range(copies))
        self.act2 = RPReLU(filters)
        self.pool = nn.AvgPool2d(2, 2) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(self.spatial(torch.sign(self.move1(x)))) + self.pool(x)
        y = self.act1(y)
        z = torch.sign(self.move2(y))
        parts = [norm(conv(z)) + y for conv, norm in zip(self.points, self.norms)]
        return self.act2(torch.cat(parts, 1) if len(parts) > 1 else parts[0])


def reactnet() -> nn.Module:
    """ReActNet-A, short."""
    return nn.Sequential(
        _stem(16, 2), ReActBlock(16, 32, 1), ReActBlock(32, 32, 1), ReActBlock(32, 64, 2),
        ReActBlock(64, 64, 1), *_head(64),
    )


class DenseBlock(nn.Module):
    """BinaryDenseNet: the convolution's channels are appended to its input."""

    def __init__(self, inputs: int, growth: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = LatentConv(inputs, growth, 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(torch.sign(self.norm(x)))], 1)


class ImprovementBlock(nn.Module):
    """MeliusNet: a convolution improves the last `growth` channels, by slice, add and concat."""

    def __init__(self, inputs: int, growth: int):
        super().__init__()
        self.growth = growth
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = LatentConv(inputs, growth, 3)

    def forward(self, x: Tensor) -> Tensor:
        residual = self.conv(torch.sign(self.norm(x)))
        kept, improved = x[:, : -self.growth], x[:, -self.growth :]
        return torch.cat([kept, improved + residual], 1)


def _transition(inputs: int, filters: int) -> list[nn.Module]:
    return [
        nn.BatchNorm2d(inputs), nn.MaxPool2d(2), nn.ReLU(),
        nn.Conv2d(inputs, filters, 1, bias=False),
    ]


def binary_densenet() -> nn.Module:
    """BinaryDenseNet with float transitions."""
    return nn.Sequential(
        _stem(16), DenseBlock(16, 12), DenseBlock(28, 12), *_transition(40, 24),
        DenseBlock(24, 12), DenseBlock(36, 12), *_transition(48, 24), DenseBlock(24, 16),
        nn.BatchNorm2d(40), nn.ReLU(), *_head(40),
    )


def meliusnet() -> nn.Module:
    """Dense and improvement blocks in turns."""
    return nn.Sequential(
        _stem(16), DenseBlock(16, 12), ImprovementBlock(28, 12), DenseBlock(28, 12),
        ImprovementBlock(40, 12), *_transition(40, 24), DenseBlock(24, 12),
        ImprovementBlock(36, 12), nn.BatchNorm2d(36), nn.ReLU(), *_head(36),
    )


class BinaryMobileBlock(nn.Module):
    """A binary depthwise convolution, then a binary pointwise one."""

    def __init__(self, inputs: int, filters: int, stride: int):
        super().__init__()
        self.depthwise = LatentConv(inputs, inputs, 3, stride, groups=inputs)
        self.norm1 = nn.BatchNorm2d(inputs)
        self.pointwise = LatentConv(inputs, filters, 1)
        self.norm2 = nn.BatchNorm2d(filters)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(self.depthwise(torch.sign(x)))
        return self.norm2(self.pointwise(torch.sign(F.hardtanh(y))))


def binary_mobilenet() -> nn.Module:
    """Depthwise separable convolutions, all binary."""
    return nn.Sequential(
        _stem(16), BinaryMobileBlock(16, 24, 2), BinaryMobileBlock(24, 32, 1),
        BinaryMobileBlock(32, 48, 2), *_head(48),
    )


def binary_mlp() -> nn.Module:
    """Binary fully connected layers."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(192, 64), nn.BatchNorm1d(64), Sign(), LatentLinear(64, 64),
        nn.BatchNorm1d(64), Sign(), LatentLinear(64, 48), nn.BatchNorm1d(48), Sign(),
        nn.Linear(48, CLASSES),
    )
