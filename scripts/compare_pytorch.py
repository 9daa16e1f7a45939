#!/usr/bin/env python3
"""The native engine against PyTorch (and ONNX Runtime) on the paper's networks, side by side.

Full-width binarised NIN, VGG-11 and ResNet-18 for CIFAR-10 (and resnet18_imagenet: 224x224, 1,000
classes) with random weights are made in PyTorch, exported, and run by both on the same images, in
turns, with two threads each:

  inference       forward pass in evaluation mode
  mask (cached)   forward and backward pass to the mask parameters of one layer, from the layer's
                  stored input on; mean over the layers
  mask (whole)    the same, PyTorch computing the frozen layers below each time
  retrain         forward and backward pass to all parameters, batch statistics, Adam

"int8": ours with gradients rounded to 8 bits, which are not compared as numbers.

Both must give the same loss and the same mask gradients, which checks our autograd against another
one. Prints a table of milliseconds per image (medians) and ratios; --json keeps the numbers. --memory
runs each phase in a process of its own and prints the most memory that each takes.

    pip install -r scripts/requirements.txt
    cargo build --release --example engine
    scripts/compare_pytorch.py
"""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parent.parent


class SignFunction(torch.autograd.Function):
    """sign with the straight-through estimator on [-1, 1]."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (x.abs() <= 1)

    @staticmethod
    def symbolic(g, x):
        return g.op("Sign", x)


class Sign(nn.Module):
    def forward(self, x):
        return SignFunction.apply(x)


class Gate(nn.Module):
    """In front of each layer that mixes channels: where masks multiply."""

    factors = None

    def forward(self, x):
        if self.factors is None:
            return x
        return x * self.factors.view(1, -1, *[1] * (x.dim() - 2))


class BinaryConv(nn.Module):
    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        # Scales of 1/16, and biases with which no sum is 0: see few_bits.
        signs = torch.randint(0, 2, (outputs, inputs * kernel * kernel)) * 2 - 1
        sizes = torch.tensor([1 / 32, 3 / 32]).repeat(inputs * kernel * kernel // 2)
        self.weight = nn.Parameter((signs * sizes).view(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter((torch.randint(-16, 16, (outputs,)) * 2 + 1) / 64)
        self.padding = kernel // 2

    def forward(self, x):
        scale = self.weight.abs().mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, SignFunction.apply(self.weight) * scale, self.bias, padding=self.padding)


def nin():
    layers = [nn.Conv2d(3, 192, 5, padding=2), nn.BatchNorm2d(192), nn.ReLU()]
    channels = 192
    plan = [(160, 1), (96, 1), "max", (192, 5), (192, 1), (192, 1), "average", (192, 3), (192, 1)]
    for item in plan:
        if item == "max":
            layers.append(nn.MaxPool2d(3, 2, 1))
        elif item == "average":
            layers.append(nn.AvgPool2d(3, 2, 1))
        else:
            width, kernel = item
            layers += [nn.BatchNorm2d(channels), Sign(), Gate(), BinaryConv(channels, width, kernel), nn.ReLU()]
            channels = width
    layers += [nn.BatchNorm2d(channels), Gate(), nn.Conv2d(channels, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers)


def vgg11():
    layers = [nn.Conv2d(3, 64, 3, padding=1), nn.MaxPool2d(2), nn.BatchNorm2d(64)]
    channels = 64
    for width, pool in [(128, True), (256, False), (256, True), (512, False), (512, True), (512, False), (512, True)]:
        layers += [Sign(), Gate(), BinaryConv(channels, width, 3)]
        layers += [nn.MaxPool2d(2)] if pool else []
        layers += [nn.BatchNorm2d(width)]
        channels = width
    layers += [Sign(), nn.Flatten(), Gate(), nn.Linear(channels, 10)]
    return nn.Sequential(*layers)


class Block(nn.Module):
    def __init__(self, inputs, width, halve):
        super().__init__()
        self.first = nn.Sequential(Sign(), BinaryConv(inputs, width, 3))
        self.halve = nn.MaxPool2d(2) if halve else nn.Identity()
        self.second = nn.Sequential(nn.BatchNorm2d(width), Sign(), Gate(), BinaryConv(width, width, 3), nn.BatchNorm2d(width))
        self.widen = inputs != width

    def forward(self, x):
        y = self.second(self.halve(self.first(x)))
        x = self.halve(x)
        return y + (torch.cat([x, x], 1) if self.widen else x)


def resnet18(classes=10, stem=(nn.Conv2d(3, 64, 3, padding=1), nn.BatchNorm2d(64))):
    layers = list(stem)
    channels = 64
    for width in (64, 128, 256, 512):
        for i in range(2):
            layers.append(Block(channels, width, halve=i == 0 and width > 64))
            channels = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
    return nn.Sequential(*layers)


def resnet18_imagenet():
    return resnet18(1000, (nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.MaxPool2d(3, 2, 1)))


# With the side of an image and the number of classes.
NETWORKS = {
    "nin": (nin, 32, 10),
    "vgg11": (vgg11, 32, 10),
    "resnet18": (resnet18, 32, 10),
    "resnet18_imagenet": (resnet18_imagenet, 224, 1000),
}


def masked_layers(model):
    """For each layer whose filters one gate alone masks: where a cached run starts, the layer's name
    in ONNX, its width, and the gate."""
    found = []
    for i, module in enumerate(model):
        if isinstance(module, Block):
            gate = next(m for m in module.second if isinstance(m, Gate))
            layer, name = module.first[1], f"/{i}/first/first.1/Conv"
        elif isinstance(module, BinaryConv):
            gate = next(m for m in model[i:] if isinstance(m, Gate))
            layer, name = module, f"/{i}/Conv"
        else:
            continue
        found.append((i, name, layer.weight.shape[0], gate))
    return found


def mask_parameter(width):
    """Every fourth filter masked."""
    return torch.tensor([-1e-4 if f % 4 == 1 else 1e-4 for f in range(width)], requires_grad=True)


def factors(m):
    """(sign(M) + 1) / 2, its gradient half of that with respect to the factors."""
    hard = (m.detach() >= 0).float()
    return hard + 0.5 * (m - m.detach())


def frozen(model):
    for p in model.parameters():
        p.requires_grad_(False)


def timed(step, batch):
    start = time.perf_counter()
    result = step()
    return (time.perf_counter() - start) * 1e3 / batch, result


class PyTorch:
    def __init__(self, model, x, labels):
        self.model, self.x, self.labels = model, x, labels

    def inference(self):
        self.model.eval()
        with torch.no_grad():
            return timed(lambda: self.model(self.x), len(self.x))[0]

    def mask(self, start, width, gate, cached):
        self.model.eval()
        m = mask_parameter(width)
        with torch.no_grad():
            inner = self.model[:start](self.x)

        def step():
            gate.factors = factors(m)
            x = inner if cached else self.x
            loss = F.cross_entropy(self.model[start if cached else 0 :](x), self.labels)
            loss.backward()
            return loss

        spent, loss = timed(step, len(self.x))
        gate.factors = None
        return spent, loss.item(), m.grad.numpy()

    def retrain(self, optimizer):
        self.model.train()

        def step():
            optimizer.zero_grad()
            loss = F.cross_entropy(self.model(self.x), self.labels)
            loss.backward()
            optimizer.step()
            return loss

        spent, loss = timed(step, len(self.x))
        return spent, loss.item()


def ours(engine, model, images, phase, batch, threads):
    command = [engine, model, *phase, "--images", images, "--batch", str(batch), "--repeat", "1", "--threads", str(threads)]
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen([str(c) for c in command], stdout=said)
        _, status, used = os.wait4(child.pid, 0)
        said.seek(0)
        if status != 0:
            sys.exit(f"{' '.join(map(str, command))} failed")
        found = json.loads(said.read())
    found["ms"] = found["ms_per_image"][0]
    found["MiB"] = used.ru_maxrss / 1024
    return found


def theirs_alone(name, batch, threads, phase, found):
    """One phase of PyTorch's, in a process of its own: the most memory that it takes, in MiB."""
    torch.set_num_threads(threads)
    make, side, classes = NETWORKS[name]
    model = make()
    it = PyTorch(model, torch.randn(batch, 3, side, side), torch.arange(batch) % classes)
    if phase == "inference":
        it.inference()
    elif phase == "mask":
        frozen(model)
        start, _, width, gate = masked_layers(model)[0]
        it.mask(start, width, gate, cached=True)
    else:
        it.retrain(torch.optim.Adam(model.parameters(), lr=1e-4))
    found.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def memory(name, args, folder):
    """The most memory that each phase takes, ours and PyTorch's, in MiB; masks of the first layer that one
    gate masks."""
    make, side, _ = NETWORKS[name]
    model, path = make().eval(), folder / f"{name}.memory.onnx"
    export(model, torch.randn(1, 3, side, side), path)
    images = folder / "memory.f32"
    images.write_bytes(torch.randn(args.batch, 3, side, side).numpy().astype("<f4").tobytes())
    spawn = multiprocessing.get_context("spawn")
    for phase in (["inference"], ["mask", masked_layers(model)[0][1]], ["retrain"]):
        mine = ours(args.engine, path, images, phase, args.batch, args.threads)["MiB"]
        found = spawn.Queue()
        child = spawn.Process(target=theirs_alone, args=(name, args.batch, args.threads, phase[0], found))
        child.start()
        theirs = found.get()
        child.join()
        print(f"{name:<18}{phase[0]:<20}{mine:9.0f}{theirs:9.0f}   MiB at most")


def export(model, x, path):
    torch.onnx.export(model, x, path, dynamo=False, do_constant_folding=False, opset_version=17,
                      training=torch.onnx.TrainingMode.PRESERVE, input_names=["image"], dynamic_axes={"image": {0: "n"}})


def check(what, a, b, tolerance):
    a, b = np.asarray(a), np.asarray(b)
    worst = float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-12))
    if worst > tolerance:
        sys.exit(f"{what}: differs from PyTorch by {worst:.1e} of the largest")
    return worst


def few_bits(model, x):
    """Running statistics of its own, and numbers with so few bits that every sum is exact in any
    order. Else signs, and which of equal numbers is the largest, would hang on rounding, and in a
    network of random weights one sign that differs changes everything above it."""
    with torch.no_grad():
        for p in model[0].parameters():
            p.copy_((p * 256).round() / 256)
        model.train()
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        for m in norms:
            m.momentum, m.eps = None, 1e-30
        model(x)
        for m in norms:
            m.running_mean.copy_((m.running_mean * 64).round() / 64 + 1 / 128)
            m.running_var.copy_(4 ** (m.running_var.log2() / 2).round())


def compare(name, args, folder):
    torch.manual_seed(0)
    make, side, classes = NETWORKS[name]
    model = make()
    x, labels = (torch.randn(args.batch, 3, side, side) * 4).round() / 4, torch.arange(args.batch) % classes
    few_bits(model, x)
    model.eval()
    path, images = folder / f"{name}.onnx", folder / "images.f32"
    images.write_bytes(x.numpy().astype("<f4").tobytes())
    export(model, x[:1], path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(path, options)
    torch_side = PyTorch(model, x, labels)
    layers = masked_layers(model)[: args.layers]
    rows = {k: ([], []) for k in ("inference", "ONNX Runtime", "mask (cached)", "mask (whole)", "retrain",
                                  "mask (cached), int8", "mask (whole), int8", "retrain, int8")}
    worst = {"loss": 0.0, "mask gradient": 0.0}
    run = lambda *phase: ours(args.engine, path, images, phase, args.batch, args.threads)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    for _ in range(args.rounds):
        forward = run("inference")["ms"]
        rows["inference"][0].append(forward)
        rows["inference"][1].append(torch_side.inference())
        rows["ONNX Runtime"][0].append(forward)
        rows["ONNX Runtime"][1].append(timed(lambda: session.run(None, {"image": x.numpy()}), args.batch)[0])
        frozen(model)
        mine, rounded, cached, whole = [], [], [], []
        for start, layer, width, gate in layers:
            found = run("mask", layer)
            mine.append(found["ms"])
            rounded.append(run("mask", layer, "--int8")["ms"])
            spent, loss, gradient = torch_side.mask(start, width, gate, cached=True)
            cached.append(spent)
            whole.append(torch_side.mask(start, width, gate, cached=False)[0])
            what = f"{name}, {layer}"
            worst["loss"] = max(worst["loss"], check(f"{what}, loss", found["loss"], loss, args.tolerance))
            apart = check(f"{what}, mask gradient", found["mask_gradient"], gradient, args.tolerance)
            worst["mask gradient"] = max(worst["mask gradient"], apart)
        for key, theirs in (("mask (cached)", cached), ("mask (whole)", whole)):
            rows[key][0].append(statistics.mean(mine))
            rows[key][1].append(statistics.mean(theirs))
            rows[f"{key}, int8"][0].append(statistics.mean(rounded))
            rows[f"{key}, int8"][1].append(statistics.mean(theirs))
        for p in model.parameters():
            p.requires_grad_(True)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
        rows["retrain"][0].append(run("retrain")["ms"])
        rows["retrain, int8"][0].append(run("retrain", "--int8")["ms"])
        torch_side.retrain(optimizer)  # warm
        theirs = torch_side.retrain(optimizer)[0]
        rows["retrain"][1].append(theirs)
        rows["retrain, int8"][1].append(theirs)
        model.load_state_dict(state)
    return rows, worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", choices=list(NETWORKS), default=["nin", "vgg11", "resnet18"])
    parser.add_argument("--layers", type=int, help="masks of the first so many layers alone")
    parser.add_argument("--memory", action="store_true", help="memory instead of time")
    parser.add_argument("--rounds", type=int, default=5, help="alternations (default 5)")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--engine", type=Path, default=ROOT / "target/release/examples/engine")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="largest relative difference of losses and gradients")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        if args.memory:
            for name in args.networks:
                memory(name, args, Path(folder))
            return
        print(f"{'network':<18}{'phase':<20}{'ours':>9}{'theirs':>9}{'ratio':>8}   milliseconds per image, medians of {args.rounds}")
        for name in args.networks:
            rows, worst = compare(name, args, Path(folder))
            for phase, (mine, theirs) in rows.items():
                ratios = [t / m for m, t in zip(mine, theirs)]
                print(f"{name:<18}{phase:<20}{statistics.median(mine):9.3f}{statistics.median(theirs):9.3f}{statistics.median(ratios):7.2f}×")
            print(f"{name:<18}largest difference: loss {worst['loss']:.1e}, mask gradient {worst['mask gradient']:.1e} of the largest", flush=True)
            results[name] = {"ms": rows, "difference": worst}
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
