"""Layers of the binary networks: ±1 activations, ±1 weights times a scale for each filter."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Sign(nn.Module):
    """`Sign`: 0 stays 0."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sign(x)


class WhereSign(nn.Module):
    """`Where(x >= 0, 1, -1)`: 0 becomes +1."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x >= 0, 1.0, -1.0)


class LatentConv(nn.Conv2d):
    """Binary weights computed in the graph from latent ones: sign(W) times mean|W|."""

    def __init__(self, inputs: int, filters: int, kernel: int = 3, stride: int = 1, groups: int = 1):
        super().__init__(
            inputs, filters, kernel, stride, padding=kernel // 2, groups=groups, bias=False
        )

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight.abs().mean((1, 2, 3), keepdim=True)
        weight = torch.sign(self.weight) * scale
        return F.conv2d(x, weight, None, self.stride, self.padding, 1, self.groups)


class ConstantConv(nn.Conv2d):
    """Binary weights as a bare initializer; an exporter may fold a BatchNormalization into it."""

    def __init__(self, inputs: int, filters: int, kernel: int = 3, stride: int = 1, groups: int = 1):
        super().__init__(
            inputs, filters, kernel, stride, padding=kernel // 2, groups=groups, bias=False
        )
        latent = self.weight.data
        self.weight.data = torch.sign(latent) * latent.abs().mean((1, 2, 3), keepdim=True)


class LatentLinear(nn.Linear):
    """A fully connected layer with binary weights computed in the graph."""

    def __init__(self, inputs: int, neurons: int):
        super().__init__(inputs, neurons, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, torch.sign(self.weight) * self.weight.abs().mean(1, keepdim=True))


class Shift(nn.Module):
    """A learnable shift for each channel (ReActNet)."""

    def __init__(self, channels: int):
        super().__init__()
        self.shift = nn.Parameter(torch.randn(1, channels, 1, 1) * 0.2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.shift


class RPReLU(nn.Sequential):
    """Shift, `PRelu` with a slope for each channel, shift (ReActNet)."""

    def __init__(self, channels: int):
        super().__init__(Shift(channels), nn.PReLU(channels), Shift(channels))
