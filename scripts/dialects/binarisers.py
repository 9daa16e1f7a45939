"""Activation binarisers as people write them in PyTorch; one class per row of the table."""

import torch
from torch import Tensor, nn


class Sign(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sign(x)


class ClipSign(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sign(torch.clamp(x, -1, 1))


class AddSign(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sign(x + 1e-6)


class SignAddSign(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sign(torch.sign(x) + 0.1)


class WhereGe(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x >= 0, 1.0, -1.0)


class WhereLike(nn.Module):
    """Constants of the data's shape: baked, or ConstantOfShape and Expand of Shape(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x >= 0, torch.ones_like(x), -torch.ones_like(x))


class WhereNotLess(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.where(~(x < 0), 1.0, -1.0)


class WhereGt(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, 1.0, -1.0)


class WhereSwapped(nn.Module):
    """The opposite sign: -1 where x >= 0."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x >= 0, -1.0, 1.0)


class WhereThreshold(nn.Module):
    """A threshold that is not 0."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x >= 0.25, 1.0, -1.0)


class CastGe(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x >= 0).float() * 2 - 1


class SignWhereZero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        s = torch.sign(x)
        return torch.where(s == 0, 1.0, s)


class RoundClip(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.round(torch.clamp((x + 1) / 2, 0, 1)) * 2 - 1


class DetachClip(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        soft = torch.clamp(x, -1, 1)
        return (torch.sign(x) - soft).detach() + soft


class DetachIdentity(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sign(x).detach() - x.detach() + x


class ApproxSign(nn.Module):
    """Bi-Real Net's polynomial."""

    def forward(self, x: Tensor) -> Tensor:
        hard = torch.sign(x)
        below, left, right = ((x < c).float() for c in (-1.0, 0.0, 1.0))
        first = below * -1 + (x * x + 2 * x) * (1 - below)
        second = first * left + (-x * x + 2 * x) * (1 - left)
        soft = second * right + 1 * (1 - right)
        return hard.detach() - soft.detach() + soft


class Threshold(nn.Module):
    """ReActNet's learned threshold per channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.shift = nn.Parameter(torch.randn(1, channels, 1, 1) * 0.2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sign(x + self.shift.expand_as(x))


class ReluSign(nn.Module):
    """{0, 1}."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sign(torch.relu(x))


class RoundZeroOne(nn.Module):
    """{0, 1}."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.round(torch.clamp(x, 0, 1))


class Ternary(nn.Module):
    """-1, 0 and 1, by thresholds."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sign(x) * (x.abs() > 0.3).float()


class TwoBits(nn.Module):
    """DoReFa's activations of two bits."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.round(torch.clamp(x, 0, 1) * 3) / 3


class SignAndAbs(nn.Module):
    """QKeras' binary: +1 at 0."""

    def forward(self, x: Tensor) -> Tensor:
        s = torch.sign(x)
        return s + (1 - s.abs())
