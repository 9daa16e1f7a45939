"""Do two models agree, and if not, was it a tie?"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

import runtime

TOLERANCE = 1e-4
# A sign may change where its input is this close to zero, relative to the tensor's largest.
TIE = 2e-6


@dataclass
class Agreement:
    """Largest difference relative to max(1, largest reference value); samples apart; ties."""

    difference: float = 0.0
    apart: int = 0
    ties: int = 0

    @property
    def exact(self) -> bool:
        """Whether every sample apart is explained by a tie."""
        return self.apart == self.ties


def _apart(want: list[np.ndarray], got: list[np.ndarray]) -> np.ndarray:
    """Relative difference of each sample; infinite where shapes or non-finite places differ."""
    worst = np.zeros(len(want[0]))
    for a, b in zip(want, got, strict=True):
        if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
            return np.full(len(want[0]), np.inf)
        flat_a, flat_b = (np.nan_to_num(x).reshape(len(x), -1).astype(np.float64) for x in (a, b))
        size = np.maximum(1.0, np.abs(flat_a).max(1))
        worst = np.maximum(worst, np.abs(flat_a - flat_b).max(1) / size)
    return worst


def agree(
    reference: onnx.ModelProto, candidate: onnx.ModelProto, feed: dict[str, np.ndarray]
) -> Agreement:
    """Compares outputs, sample by sample.

    A sample beyond the tolerance counts as a tie where the reference is itself undecided there:
    with the inputs of its discontinuous operators moved by a few units in the last place, up,
    down, and at random, one of its answers is the candidate's, within the tolerance.
    """
    want, got = runtime.outputs(reference, feed), runtime.outputs(candidate, feed)
    difference = _apart(want, got)
    bad = difference > TOLERANCE
    result = Agreement(float(difference[~bad].max(initial=0.0)), int(bad.sum()))
    if not bad.any() or not np.isfinite(difference).all():
        result.difference = float(difference.max())
        return result
    undecided = np.zeros_like(bad)
    for seed in range(8):
        moved = runtime.outputs(_moved(reference, feed, seed), feed)
        undecided |= bad & (_apart(moved, got) <= TOLERANCE)
    result.ties = int(undecided.sum())
    if not result.exact:
        result.difference = float(difference.max())
    return result


def _moved(model: onnx.ModelProto, feed: dict[str, np.ndarray], seed: int) -> onnx.ModelProto:
    """The model with the inputs of its discontinuous operators moved within rounding."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    random = np.random.default_rng(seed)
    nodes = [n for n in out.graph.node if n.op_type in runtime.DISCONTINUOUS]
    values = runtime.tensors(model, list({n.input[0] for n in nodes}), feed)
    for node in nodes:
        value = values[node.input[0]]
        if value.dtype != np.float32:
            continue
        size = TIE * float(np.abs(value).max(initial=0.0))
        shape = value.shape
        shift = {0: np.ones(shape), 1: -np.ones(shape)}.get(seed, random.uniform(-1, 1, shape))
        name = node.input[0] + "_moved_" + node.output[0]
        out.graph.initializer.append(
            numpy_helper.from_array((size * shift).astype(np.float32), name + "_by")
        )
        index = next(i for i, n in enumerate(out.graph.node) if n.output[0] == node.output[0])
        out.graph.node.insert(index, helper.make_node("Add", [node.input[0], name + "_by"], [name]))
        node.input[0] = name
    return out
