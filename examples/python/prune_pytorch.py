#!/usr/bin/env python3
"""Prunes a PyTorch network and goes on training it in PyTorch.

    pip install torch
    python examples/python/prune_pytorch.py

Trains a small binary network on the digits in fixtures/, exports it, prunes the ONNX file from a
DataLoader, builds the narrower module from what was kept, checks that it gives the same outputs as the
pruned file in ONNX Runtime, and trains it for another epoch.
"""

import io
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import onnx_bnnprune

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"


class Binarise(torch.autograd.Function):
    """±1 forward, the straight-through estimator backward."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.sign(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * (x.abs() <= 1)


def binarise(x: Tensor) -> Tensor:
    # An exporter shall see the plain operator.
    return torch.sign(x) if torch.onnx.is_in_onnx_export() else Binarise.apply(x)


class BinaryConv2d(nn.Conv2d):
    """Weights ±1, scaled by each filter's mean |W|; inputs ±1."""

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight.abs().mean(dim=(1, 2, 3), keepdim=True)
        return F.conv2d(binarise(x), binarise(self.weight) * scale, padding=self.padding)


class Network(nn.Module):
    """A float stem, two binary convolutions of the widths given, a float classifier."""

    def __init__(self, widths: tuple[int, int] = (48, 64)) -> None:
        super().__init__()
        first, second = widths
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.conv1 = BinaryConv2d(16, first, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(first)
        self.conv2 = BinaryConv2d(first, second, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(second)
        self.classifier = nn.Linear(second * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(F.max_pool2d(self.conv1(self.stem(x)), 2))
        x = self.norm2(F.max_pool2d(self.conv2(x), 2))
        return self.classifier(x.flatten(1))


def train(network: nn.Module, loader: DataLoader, epochs: int, lr: float) -> float:
    """Trains the network; the last epoch's mean loss."""
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr)
    mean = float("nan")
    for _ in range(epochs):
        losses = []
        for x, y in loader:
            loss = F.cross_entropy(network(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            for module in network.modules():
                if isinstance(module, BinaryConv2d):
                    module.weight.data.clamp_(-1, 1)
            losses.append(loss.item())
        mean = float(np.mean(losses))
    return mean


def export(network: nn.Module) -> bytes:
    """The network as ONNX, parameters under their own names."""
    file = io.BytesIO()
    network.eval()
    torch.onnx.export(
        network,
        (torch.zeros(1, 1, 8, 8),),
        file,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=17,
        # Else the binary weights are computed once, and their latents are gone.
        do_constant_folding=False,
        dynamo=False,
    )
    return file.getvalue()


def sliced(state: dict[str, Tensor], kept: dict[str, list[int]]) -> dict[str, Tensor]:
    """The state of a network without the filters that are gone."""
    first = torch.tensor(kept["/conv1/Conv"])
    second = torch.tensor(kept["/conv2/Conv"])
    # Each channel in front of the classifier is a map of 2 x 2.
    columns = (second[:, None] * 4 + torch.arange(4)).flatten()
    small = dict(state)
    small["conv1.weight"] = state["conv1.weight"][first]
    small["conv2.weight"] = state["conv2.weight"][second][:, first]
    small["classifier.weight"] = state["classifier.weight"][:, columns]
    for norm, channels in (("norm1", first), ("norm2", second)):
        for name in ("weight", "bias", "running_mean", "running_var"):
            small[f"{norm}.{name}"] = state[f"{norm}.{name}"][channels]
    return small


def retrained(state: dict[str, Tensor], model) -> dict[str, Tensor]:
    """``state`` with the values that the pruned file has: pruning has retrained them.

    Initializers have their parameters' names. The weights of a layer may have become constants, ±1
    times a filter's scale; as latents these give the same weights.
    """
    weights = {i.name: torch.tensor(numpy_helper.to_array(i)) for i in model.graph.initializer}
    for node in model.graph.node:
        parameter = node.name.strip("/").rpartition("/")[0] + ".weight"
        if node.op_type == "Conv" and node.input[1] in weights:
            weights.setdefault(parameter, weights[node.input[1]])
    new = {name: weights.get(name, value) for name, value in state.items()}
    wrong = [name for name in state if new[name].shape != state[name].shape]
    if wrong:
        raise ValueError(f"other shapes than the pruned file: {', '.join(wrong)}")
    return new


def main() -> None:
    """Trains, prunes, compares, trains on."""
    torch.manual_seed(0)
    with np.load(FIXTURES / "digits_train.npz") as archive:
        x, y = archive["x"].astype("float32") / 255, archive["y"]
    loader = DataLoader(TensorDataset(torch.tensor(x), torch.tensor(y)), 64, shuffle=True)
    network = Network()
    train(network, loader, epochs=20, lr=1e-3)

    # The batches are what the network was trained on: floats, taken as they are.
    result = onnx_bnnprune.prune(export(network), loader, max_drop=1.0)
    print(result)

    kept = result.kept
    small = Network((len(kept["/conv1/Conv"]), len(kept["/conv2/Conv"])))
    small.load_state_dict(retrained(sliced(network.state_dict(), kept), result.model))

    small.eval()
    session = onnxruntime.InferenceSession(result.to_bytes(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"image": x[:256]})
    with torch.no_grad():
        found = small(torch.tensor(x[:256])).numpy()
    # Rounding may decide a sign differently where a sum is as good as 0.
    same = np.isclose(found, expected, atol=1e-3).all(1).mean()
    print(f"{same:.2%} of images have the outputs of the pruned file")
    if same < 0.98:
        raise SystemExit("the module does not compute what the pruned file computes")

    loss = train(small, loader, epochs=1, lr=1e-4)
    print(f"trained on: loss {loss:.4f}")


if __name__ == "__main__":
    main()
