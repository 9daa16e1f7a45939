"""Small networks, one per row of the survey: name, module, exporter, and what `inspect` must say."""

import torch
from torch import nn
from torch.nn import functional as F

import binarisers as acts
import weights as w

BINARY = 2


def batch_norm(channels: int, kind=nn.BatchNorm2d) -> nn.Module:
    bn = kind(channels)
    bn.running_mean.normal_(std=0.3)
    bn.running_var.uniform_(0.5, 2)
    bn.weight.data.uniform_(0.5, 1.5).mul_(torch.where(torch.rand(channels) < 0.2, -1.0, 1.0))
    bn.bias.data.normal_(std=0.3)
    return bn


def plain(make_act, binarise=w.mean_abs, constant=False, between=nn.Identity, **options):
    """Stem, two binary convolutions with BatchNormalization, pooling, classifier."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False), batch_norm(6),
        make_act(6), between(), w.Conv(6, 8, binarise, constant, **options), batch_norm(8),
        nn.MaxPool2d(2),
        make_act(8), w.Conv(8, 8, binarise, constant, **options), batch_norm(8),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )


class Pad(nn.Module):
    """Pads with a value of the binariser's own."""

    def __init__(self, inner: nn.Module, value: float):
        super().__init__()
        self.inner, self.value = inner, value

    def forward(self, x):
        return F.conv2d(F.pad(x, (1, 1, 1, 1), value=self.value), w.mean_abs(self.inner.weight))


class SharedSign(nn.Module):
    """One Sign that two layers read."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), batch_norm(6))
        self.a, self.b = w.Conv(6, 8, w.mean_abs), w.Conv(6, 8, w.mean_abs)
        self.na, self.nb = batch_norm(8), batch_norm(8)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        s = torch.sign(self.stem(x))
        y = torch.cat([self.na(self.a(s)), self.nb(self.b(s))], 1)
        return self.head(y.mean((2, 3)))


class Residual(nn.Module):
    """A Bi-Real block: a real-valued stream around a binary convolution."""

    def __init__(self, act):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), batch_norm(8))
        self.act = nn.ModuleList([act(8), act(8)])
        self.conv = nn.ModuleList([w.Conv(8, 8, w.detached), w.Conv(8, 8, w.detached)])
        self.norm = nn.ModuleList([batch_norm(8), batch_norm(8)])
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = self.stem(x)
        for act, conv, norm in zip(self.act, self.conv, self.norm):
            x = x + norm(conv(act(x)))
        return self.head(x.mean((2, 3)))


class OneKernelTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), batch_norm(8))
        self.conv, self.norm = w.Conv(8, 8, w.mean_abs), nn.ModuleList([batch_norm(8), batch_norm(8)])
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        x = self.stem(x)
        for norm in self.norm:
            x = norm(self.conv(torch.sign(x)))
        return self.head(x.mean((2, 3)))


def dense():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(192, 16), batch_norm(16, nn.BatchNorm1d),
        acts.Sign(), w.Linear(16, 24, w.mean_abs), batch_norm(24, nn.BatchNorm1d),
        acts.Sign(), w.Linear(24, 16, w.plain_sign, constant=True), batch_norm(16, nn.BatchNorm1d),
        nn.Linear(16, 10),
    )


def padded(value: float):
    net = plain(lambda c: acts.WhereGe())
    net[4] = Pad(net[4], value)
    return net


def zeroed(net):
    """One filter all zero: Sign of latents that are 0."""
    net[4].weight.data[2] = 0
    net[4].weight.data[3, 1] = 0
    return net


def box():
    """±1 activations into an averaging filter, and binary weights on a real-valued input."""
    net = plain(lambda c: acts.Sign(), w.plain_sign, constant=True)
    net[4].weight.data[:] = 1 / 9
    net[7] = nn.Identity()
    return net


def ternary_weights():
    net = plain(lambda c: acts.Sign(), constant=True)
    for i in (4, 8):
        v = net[i].weight.data
        v[torch.rand_like(v) < 0.4] = 0
    return net


def dropout():
    """Dropout in front of the classifier, for an export in training mode."""
    net = plain(act(acts.Sign))
    return nn.Sequential(*net[:-1], nn.Dropout(0.5), net[-1])


def stem_relu():
    """A float convolution with Relu, which ONNX Runtime fuses."""
    net = plain(act(acts.Sign))
    return nn.Sequential(net[0], nn.ReLU(), *net[1:])


def act(cls):
    return lambda channels: cls(channels) if cls is acts.Threshold else cls()


def row(net, binarizer, zero, scale="per-filter", binary=BINARY, exporters=("script", "dynamo"), **more):
    return {"net": net, "expect": {"binarizer": binarizer, "zero": zero, "scale": scale, "binary": binary, **more},
            "exporters": exporters}


def rows() -> dict:
    table = {
        "sign": row(plain(act(acts.Sign)), "sign", 0),
        "clip_sign": row(plain(act(acts.ClipSign)), "clip-sign", 0),
        "add_sign": row(plain(act(acts.AddSign)), "add-sign", 1),
        "sign_add_sign": row(plain(act(acts.SignAddSign)), "sign-add-sign", 1),
        "where_ge": row(plain(act(acts.WhereGe)), "where-ge", 1),
        "where_like": row(plain(act(acts.WhereLike)), "where-ge", 1),
        "where_not_less": row(plain(act(acts.WhereNotLess)), "where-ge", 1),
        "where_gt": row(plain(act(acts.WhereGt)), "where-gt", -1),
        "where_swapped": row(plain(act(acts.WhereSwapped)), "where-ge", -1),
        "where_threshold": row(plain(act(acts.WhereThreshold)), "where-ge", -1),
        "cast_ge": row(plain(act(acts.CastGe)), "cast-ge", 1),
        "sign_where_zero": row(plain(act(acts.SignWhereZero)), "sign-where-zero", 1),
        "round_clip": row(plain(act(acts.RoundClip)), "round-clip", -1),
        "detach_clip": row(plain(act(acts.DetachClip)), "detach-sign", 0),
        "detach_identity": row(plain(act(acts.DetachIdentity)), "detach-sign", 0),
        "approx_sign": row(Residual(act(acts.ApproxSign)), "detach-sign", 0, coupled=1),
        "threshold": row(plain(act(acts.Threshold)), "threshold-sign", 0),
        "relu_sign": row(plain(act(acts.ReluSign)), "01", 0, None, 0),
        "round_01": row(plain(act(acts.RoundZeroOne)), "01", 0, None, 0),
        "ternary": row(plain(act(acts.Ternary)), "ternary", None, None, 0),
        "two_bits": row(plain(act(acts.TwoBits)), "k-bit", None, None, 0),
        "pool_between": row(plain(act(acts.Sign), between=lambda: nn.MaxPool2d(2)), "sign", 0),
        "pad_plus": row(padded(1.0), "where-ge", 1, padding=[1.0, 0.0]),
        "pad_minus": row(padded(-1.0), "where-ge", 1, padding=[-1.0, 0.0]),
        "shared_sign": row(SharedSign(), "sign", 0),
        "dense": row(dense(), "sign", 0, ["per-filter", "one"]),
        "xnor": row(plain(act(acts.Sign), w.xnor), "sign", 0, exporters=("script", "dynamo", "external")),
        "irnet": row(plain(act(acts.Sign), w.irnet), "sign", 0, ["power-of-two", "one"]),
        "dorefa": row(plain(act(acts.Sign), w.dorefa), "sign", 0, "uniform"),
        "detached_weights": row(plain(act(acts.Sign), w.detached), "sign", 0),
        "where_weights": row(plain(act(acts.Sign), w.where), "sign", 0),
        "folded": row(plain(act(acts.Sign), constant=True), "sign", 0, "folded"),
        "grouped": row(plain(act(acts.Sign), groups=2), "sign", 0),
        "zero_filter": row(zeroed(plain(act(acts.Sign))), "sign", 0),
        "one_kernel_twice": row(OneKernelTwice(), "sign", 0, coupled=0),
        "box": row(box(), None, None, None, 0),
        "ternary_weights": row(ternary_weights(), "sign", 0, None, 0),
        "dropout": row(dropout(), "sign", 0, exporters=("train",), prunable=False, declined="--inference-mode"),
        "stem_relu": row(stem_relu(), "sign", 0, exporters=("script",)),
        # At the end, where it changes no other row's random numbers.
        "sign_and_abs": row(plain(act(acts.SignAndAbs)), "decided", 1),
    }
    # What folding by an exporter changes.
    for name in ("relu_sign", "round_01"):
        table[name]["expect"]["declined"] = "{0, 1}"
    table["ternary"]["expect"]["declined"] = "ternary"
    table["two_bits"]["expect"]["declined"] = "more than two values"
    table["ternary_weights"]["expect"]["declined"] = "ternary"
    table["box"]["expect"]["declined"] = "averaging"
    return table
