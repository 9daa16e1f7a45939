"""References built with the `onnx` package from the original file and the masks alone."""

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import helper, numpy_helper

import layers
import runtime
from masks import Masks


def fold(model: onnx.ModelProto, masks: Masks) -> onnx.ModelProto:
    """What `--removal fold` promises: each masked layer's output, times a 0/1 vector."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    sites = layers.sites(out)
    for name, pruned in masks.items():
        site = layers.named(sites, name)
        keep = np.ones(site.filters, np.float32)
        keep[pruned] = 0
        factor = layers.selector(site.output_axis, site.rank, keep)
        _multiply_output(out, site.node, factor)
    return out


def drop(
    model: onnx.ModelProto, masks: Masks, inputs: dict[str, np.ndarray]
) -> onnx.ModelProto:
    """What `--removal drop` promises, found by experiment rather than by analysis.

    On top of `fold`, a layer reads nothing from an input channel that a masked filter reaches
    through channel-wise operators, and that carries no information because of the masks: one that
    is the same for all samples in the fold reference, and not in the original. Both are looked at
    through `_transparent`, so that a sign or a Relu that happens to be constant on these samples
    does not count, and at several magnitudes, as little of the input may be left behind many masked
    layers. A channel is reached if the masks still change it when every layer's own output is
    replaced by noise (`_cut`): a filter that is not masked counts as itself whatever is left of
    its inputs, perhaps nothing (a whole group of a grouped convolution). What is constant in the
    original whatever the input is not dropped: the sign of a positive number is +1, mask or no mask.
    """
    out = fold(model, masks)
    readers = [site for site in layers.sites(out) if not site.depthwise]
    before, after = _transparent(model), _transparent(out)
    reads = {(site.data, site.input_axis) for site in readers}
    silent_after = _silent_at_all(after, reads, inputs)
    silent_before = _silent_at_all(before, {(original_name(n), a) for n, a in reads}, inputs)
    noise = _noise(before, [original_name(site.node.output[0]) for site in readers], inputs)
    names = [site.data for site in readers]
    masked = runtime.tensors(_cut(after, noise), list(dict.fromkeys(names)), inputs)
    names = [original_name(name) for name in names]
    whole = runtime.tensors(_cut(before, noise), list(dict.fromkeys(names)), inputs)
    settled = _settled_signs(model)
    for site in readers:
        name, axis = original_name(site.data), site.input_axis
        reached = _by_channel(masked[site.data] != whole[name], axis).any(0)
        dead = reached & silent_after[site.data, axis] & ~silent_before[name, axis]
        dead &= ~settled.get(name, np.False_)
        if dead.any():
            factor = layers.selector(axis, whole[name].ndim, ~dead)
            _multiply_input(out, site.node, site.data, factor)
    return out


MASKED = "__masked"


def original_name(name: str) -> str:
    """What the original calls a tensor of the fold reference."""
    return name.removesuffix(MASKED)


MAGNITUDES = (1, 30, 1000)


def _silent_at_all(
    model: onnx.ModelProto, reads: Iterable[tuple[str, int]], inputs: dict[str, np.ndarray]
) -> dict[tuple[str, int], np.ndarray]:
    """Channels, along an axis of a tensor, that are silent whatever the inputs' magnitude."""
    reads = list(reads)
    names = list(dict.fromkeys(name for name, _ in reads))
    found: dict[tuple[str, int], np.ndarray] = {}
    for by in MAGNITUDES:
        scaled = {name: (value * by).astype(value.dtype) for name, value in inputs.items()}
        values = runtime.tensors(model, names, scaled)
        for name, axis in reads:
            silent = _silent(values[name], axis)
            found[name, axis] = silent & found.get((name, axis), np.True_)
    return found


def _noise(
    model: onnx.ModelProto, names: list[str], inputs: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """For each of these tensors, noise of its size, for one run of the model."""
    random = np.random.default_rng(3)
    samples = len(next(iter(inputs.values())))
    runs = samples // (runtime.fixed_batch(model) or samples)
    found = {}
    for name, value in runtime.tensors(model, names, inputs).items():
        shape = (len(value) // runs, *value.shape[1:])
        size = max(value.std(), 1e-3)
        found[name] = (random.standard_normal(shape) * size).astype(value.dtype)
    return found


def _cut(model: onnx.ModelProto, noise: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The model with noise in place of what layers compute, in front of their masks."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    del out.graph.node[:]
    for node in model.graph.node:
        name = original_name(node.output[0])
        if name not in noise or node.op_type == "Mul":
            out.graph.node.append(node)
            continue
        stored = f"{name}_noise"
        out.graph.initializer.append(numpy_helper.from_array(noise[name], stored))
        out.graph.node.append(helper.make_node("Identity", [stored], [node.output[0]]))
    return out


# Operators that can be constant, or nearly so, for a varying input, and what stands in for them:
# strictly monotone, of modest growth, and the same at zero. Of two, the first is applied first.
STAND_INS = {
    "Sign": ["LeakyRelu"],
    "Relu": ["LeakyRelu"],
    "Clip": ["LeakyRelu"],
    "HardSwish": ["LeakyRelu"],
    "Erf": ["Softsign"],
    "Tanh": ["Softsign"],
    "Sigmoid": ["Softsign", "Sigmoid"],
    "HardSigmoid": ["Softsign", "Sigmoid"],
}


def _transparent(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a stand-in for each activation that can saturate."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    del out.graph.node[:]
    compared = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type in ("GreaterOrEqual", "Greater")
    }
    fixed = layers.constants(model)
    for node in model.graph.node:
        binarises = node.op_type == "Where" and node.input[0] in compared
        chain = ["LeakyRelu"] if binarises else STAND_INS.get(node.op_type)
        if node.output[0] in fixed or chain is None:
            out.graph.node.append(node)
            continue
        source = compared[node.input[0]] if binarises else node.input[0]
        for number, op in enumerate(chain, 1):
            last = number == len(chain)
            name = node.output[0] if last else f"{node.output[0]}_stand_in_{number}"
            slope = {"alpha": 0.5} if op == "LeakyRelu" else {}
            out.graph.node.append(helper.make_node(op, [source], [name], **slope))
            source = name
    return out


def _noisy(
    model: onnx.ModelProto, mixing: list[layers.Site], inputs: dict[str, np.ndarray]
) -> onnx.ModelProto:
    """The model with noise as large as their values in the outputs of layers, in front of masks."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    names = [site.node.output[0] for site in mixing]
    values = runtime.tensors(model, names, inputs)
    random = np.random.default_rng(3)
    del out.graph.node[:]
    for node in model.graph.node:
        name = node.output[0]
        if name not in values:
            out.graph.node.append(node)
            continue
        value = values[name]
        noise = random.standard_normal(value.shape) * max(value.std(), 1e-3)
        out.graph.initializer.append(
            numpy_helper.from_array(noise.astype(value.dtype), f"{name}_noise")
        )
        quiet = onnx.NodeProto()
        quiet.CopyFrom(node)
        quiet.output[0] = f"{name}_quiet"
        added = helper.make_node("Add", [quiet.output[0], f"{name}_noise"], [name])
        out.graph.node.extend([quiet, added])
    return out


def _settled_signs(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Channels of Relu, perhaps pooled, BatchNormalization, Sign, whose sign can never change."""
    maker = {node.output[0]: node for node in model.graph.node}
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        norm = maker.get(node.input[0]) if node.op_type == "Sign" else None
        if norm is None or norm.op_type != "BatchNormalization":
            continue
        source = maker.get(norm.input[0])
        while source is not None and source.op_type in ("MaxPool", "AveragePool"):
            source = maker.get(source.input[0])
        if source is None or source.op_type != "Relu":
            continue
        scale, bias, mean, variance = (values[name] for name in norm.input[1:5])
        epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
        at_zero = bias - scale * mean / np.sqrt(variance + epsilon)
        found[node.output[0]] = scale * at_zero > 0
    return found


def _by_channel(tensor: np.ndarray, axis: int) -> np.ndarray:
    """A row for each sample and position, a column for each channel."""
    return np.moveaxis(tensor, axis, -1).reshape(-1, tensor.shape[axis])


def _silent(tensor: np.ndarray, axis: int) -> np.ndarray:
    """Channels that are the same for all samples."""
    spread = tensor.max(0, keepdims=True) - tensor.min(0, keepdims=True)
    size = np.abs(tensor).max(0, keepdims=True)
    return _by_channel(spread <= 1e-6 * np.maximum(size, 1e-6), axis).all(0)


def _multiply_output(model: onnx.ModelProto, node: onnx.NodeProto, factor: np.ndarray) -> None:
    """Everything that read the node's output reads its product with `factor`."""
    graph = model.graph
    name, product = node.output[0], node.output[0] + MASKED
    index = next(i for i, n in enumerate(graph.node) if n.output[0] == name)
    for other in graph.node:
        for position, read in enumerate(other.input):
            if read == name:
                other.input[position] = product
    if any(output.name == name for output in graph.output):
        # The output keeps its name, so it is the node's own that changes.
        name, product = product, name
        graph.node[index].output[0] = name
    graph.initializer.append(numpy_helper.from_array(factor, product + "_factor"))
    graph.node.insert(index + 1, helper.make_node("Mul", [name, product + "_factor"], [product]))


def _multiply_input(
    model: onnx.ModelProto, node: onnx.NodeProto, name: str, factor: np.ndarray
) -> None:
    """This node alone reads the product of tensor `name` with `factor`."""
    graph = model.graph
    product = f"{name}_for_{node.output[0]}"
    index = next(i for i, n in enumerate(graph.node) if n.output[0] == node.output[0])
    reader = graph.node[index]
    for position, read in enumerate(reader.input):
        if read == name:
            reader.input[position] = product
    graph.initializer.append(numpy_helper.from_array(factor, product + "_factor"))
    graph.node.insert(index, helper.make_node("Mul", [name, product + "_factor"], [product]))
