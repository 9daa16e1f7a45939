"""Binary weights as people write them in PyTorch; one function per row of the table."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def mean_abs(w: Tensor) -> Tensor:
    dims = tuple(range(1, w.dim()))
    return torch.sign(w) * w.abs().mean(dims, keepdim=True)


def xnor(w: Tensor) -> Tensor:
    """XNOR-Net: centred and clipped first."""
    w = torch.clamp(w - w.mean(1, keepdim=True), -1, 1)
    dims = tuple(range(1, w.dim()))
    scale = w.norm(1, dims, keepdim=True) / w[0].numel()
    return torch.sign(w) * scale.expand_as(w)


def irnet(w: Tensor) -> Tensor:
    """IR-Net: standardised, with a scale that is a power of two."""
    flat = w.reshape(w.shape[0], -1)
    w = (w - flat.mean(1).reshape(-1, 1, 1, 1)) / flat.std(1).reshape(-1, 1, 1, 1)
    flat = w.abs().reshape(w.shape[0], -1)
    shift = torch.pow(2.0, torch.round(torch.log(flat.mean(1)) / torch.log(torch.tensor(2.0))))
    return torch.sign(w) * shift.reshape(-1, 1, 1, 1)


def dorefa(w: Tensor) -> Tensor:
    """DoReFa: one scale for the tensor."""
    return torch.sign(w) * w.abs().mean()


def detached(w: Tensor) -> Tensor:
    """`(b - clip(w)) + clip(w)`: noise of a few ulp."""
    soft = torch.clamp(w, -1, 1)
    return (mean_abs(w) - soft).detach() + soft


def plain_sign(w: Tensor) -> Tensor:
    return torch.sign(w)


def where(w: Tensor) -> Tensor:
    return torch.where(w >= 0, 1.0, -1.0) * w.abs().mean((1, 2, 3), keepdim=True)


class Conv(nn.Conv2d):
    """A convolution whose weights `binarise` computes, in the graph or (`constant`) before."""

    def __init__(self, inputs, filters, binarise, constant=False, **options):
        super().__init__(inputs, filters, 3, padding=1, bias=False, **options)
        nn.init.normal_(self.weight, std=0.3)
        self.binarise = (lambda w: w) if constant else binarise
        if constant:
            self.weight.data = binarise(self.weight.data)

    def forward(self, x: Tensor) -> Tensor:
        w = self.binarise(self.weight)
        return F.conv2d(x, w, None, self.stride, self.padding, 1, self.groups)


class Linear(nn.Linear):
    """The same, fully connected."""

    def __init__(self, inputs, neurons, binarise, constant=False):
        super().__init__(inputs, neurons, bias=False)
        self.binarise = (lambda w: w) if constant else binarise
        if constant:
            self.weight.data = binarise(self.weight.data)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.binarise(self.weight))
