"""Layers of an ONNX file, read with the `onnx` package alone: nothing here asks the tool."""

from dataclasses import dataclass

import numpy as np
import onnx

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Site:
    """A weighted node: where its channels lie in its output, and in the input that it mixes.

    `rank` is that of a factor for the output; the output's axis counts from the front for
    convolutions, else from the end. `depthwise`: each
    filter reads one channel; `grouped`: some, but not all.
    """

    node: onnx.NodeProto
    data: str
    filters: int
    rank: int
    output_axis: int
    input_axis: int
    depthwise: bool = False
    grouped: bool = False


def constants(model: onnx.ModelProto) -> set[str]:
    """Names of tensors that no graph input reaches."""
    graph = model.graph
    found = {t.name for t in graph.initializer} | {""}
    for node in graph.node:
        if all(name in found for name in node.input) and not any(
            a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
            for a in node.attribute
        ):
            found.update(node.output)
    return found


def weight_shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Shapes of initializers, and of what shape inference finds where weights are computed."""
    graph = model.graph
    shapes = {t.name: list(t.dims) for t in graph.initializer}
    wanted = {node.input[1] for node in graph.node if node.op_type in WEIGHTED}
    if not wanted <= shapes.keys():
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        for info in inferred.graph.value_info:
            if info.name not in shapes:
                dims = info.type.tensor_type.shape.dim
                shapes[info.name] = [d.dim_value for d in dims]
    return shapes


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((a.i for a in node.attribute if a.name == name), default)


def sites(model: onnx.ModelProto) -> list[Site]:
    """Every Conv, ConvTranspose, Gemm and MatMul of which one side is constant."""
    fixed, shapes = constants(model), weight_shapes(model)
    found = []
    for node in model.graph.node:
        if node.op_type not in WEIGHTED:
            continue
        left, right = (name in fixed for name in node.input[:2])
        shape = shapes.get(node.input[0 if left else 1], [])
        if left == right or len(shape) < 2:
            continue
        group = _attribute(node, "group", 1)
        match node.op_type:
            case "Conv":
                depthwise = group > 1 and shape[1] == 1
                grouped = group > 1 and not depthwise
                site = Site(node, node.input[0], shape[0], len(shape), 1, 1, depthwise, grouped)
            case "ConvTranspose":
                depthwise = group > 1 and shape[0] == group
                grouped = group > 1 and not depthwise
                filters = shape[1] * group
                site = Site(node, node.input[0], filters, len(shape), 1, 1, depthwise, grouped)
            case "Gemm" if right:
                filters = shape[0] if _attribute(node, "transB", 0) else shape[1]
                axis = 0 if _attribute(node, "transA", 0) else 1
                site = Site(node, node.input[0], filters, 1, -1, axis)
            case "MatMul" if right:
                site = Site(node, node.input[0], shape[-1], 1, -1, -1)
            case "MatMul":
                site = Site(node, node.input[1], shape[-2], 2, -2, -2)
            case _:
                continue
        found.append(site)
    return found


def named(found: list[Site], name: str) -> Site:
    """The site that masks call `name`: a node's name or its first output."""
    for site in found:
        if name in (site.node.name, site.node.output[0]):
            return site
    raise KeyError(f"no layer '{name}' was found by the reference")


def _reached(model: onnx.ModelProto, found: list[Site], site: Site) -> set[str]:
    """Tensors that carry its channels: everything behind it up to the next mixing layer."""
    mixing = {s.node.output[0] for s in found if not s.depthwise}
    reached = set(site.node.output)
    for node in model.graph.node:
        if reached.intersection(node.input) and node.output[0] not in mixing:
            reached.update(node.output)
    return reached


def writes_output(model: onnx.ModelProto, found: list[Site], site: Site) -> bool:
    """Whether its filters are also the model's: a path to an output without another layer."""
    reached = _reached(model, found, site)
    return any(output.name in reached for output in model.graph.output)


def tied_by_groups(model: onnx.ModelProto, found: list[Site], site: Site) -> bool:
    """Whether it is a grouped convolution (other than depthwise), or writes into one."""
    reached = _reached(model, found, site)
    return site.grouped or any(s.grouped and s.data in reached for s in found)


def selector(axis: int, rank: int, keep: np.ndarray) -> np.ndarray:
    """`keep` shaped so that it multiplies the axis of a tensor of this rank."""
    shape = [1] * rank
    shape[axis] = len(keep)
    return keep.astype(np.float32).reshape(shape)
