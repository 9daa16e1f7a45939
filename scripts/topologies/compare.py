"""Do two models agree, and if not, was it a tie?"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

import layers
import runtime

TOLERANCE = 1e-4
# A sign may change where its input is this close to zero, relative to the tensor's largest.
TIE = 1e-6
# How many undecided signs may differ in one sample, and how many are tried.
ROUNDS = 4
CANDIDATES = 256


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

    A sample beyond the tolerance counts as a tie where flipping signs that the reference decides
    within rounding, one after the other, turns the reference's answer into the candidate's.
    """
    want, got = runtime.outputs(reference, feed), runtime.outputs(candidate, feed)
    difference = _apart(want, got)
    bad = difference > TOLERANCE
    result = Agreement(float(difference[~bad].max(initial=0.0)), int(bad.sum()))
    if np.isfinite(difference).all():
        for sample in np.flatnonzero(bad):
            answer = [output[sample : sample + 1] for output in got]
            result.ties += _explained(reference, feed, int(sample), answer)
    if not result.exact:
        result.difference = float(difference.max())
    return result


def _explained(
    model: onnx.ModelProto, feed: dict[str, np.ndarray], sample: int, answer: list[np.ndarray]
) -> bool:
    """Whether at most `ROUNDS` undecided signs make the difference of this sample.

    The sample is repeated as often as there are candidates, each with one sign's input moved
    across zero; the best one is kept for the next round.
    """
    movable, names = _movable(model)
    if not names:
        return False
    candidates = _undecided(model, names, feed, sample)
    if not candidates:
        return False
    session = runtime.session(movable)
    count = len(candidates)
    tensors = runtime.tensors(model, list(names), feed)
    moves = {
        shift: np.zeros((count, *tensors[name].shape[1:]), np.float32)
        for name, shift in names.items()
    }
    repeated = {
        name: np.repeat(value[sample : sample + 1], count, 0) for name, value in feed.items()
    }
    wanted = [np.repeat(output, count, 0) for output in answer]
    for _ in range(ROUNDS):
        for row, (name, place, by) in enumerate(candidates):
            moves[names[name]][(row, *place)] += by
        apart = _apart(session.run(None, repeated | moves), wanted)
        best = int(np.argmin(apart))
        if apart[best] <= TOLERANCE:
            return True
        for shift in moves.values():
            shift[:] = shift[best : best + 1]
    return False


def _undecided(
    model: onnx.ModelProto, names: dict[str, str], feed: dict[str, np.ndarray], sample: int
) -> list[tuple[str, tuple[int, ...], float]]:
    """Sign inputs of this sample within rounding of zero: tensor, place, and what moves it across.

    A place that is zero for every sample is no accident of rounding, and left out.
    """
    found = []
    for name, values in runtime.tensors(model, list(names), feed).items():
        value = values[sample]
        near = np.abs(value) <= TIE * float(np.abs(values).max(initial=0.0))
        near &= ~(values == 0).all(0)
        for place in zip(*np.nonzero(near)):
            by = -2 * float(value[place])
            found += [(name, place, by)] if by else [(name, place, 1e-6), (name, place, -1e-6)]
    return found[:CANDIDATES]


def _movable(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The model with a further input added to what each discontinuous operator reads, and their
    names by the tensor's."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    fixed = layers.constants(model)
    names: dict[str, str] = {}
    del out.graph.node[:]
    for node in model.graph.node:
        read = node.input[0] if node.input else ""
        if node.op_type in runtime.DISCONTINUOUS and read not in fixed:
            shift = f"{read}_shift"
            if read not in names:
                names[read] = shift
                add = helper.make_node("Add", [read, shift], [f"{read}_moved"])
                out.graph.node.append(add)
                info = helper.make_tensor_value_info(shift, onnx.TensorProto.FLOAT, None)
                out.graph.input.append(info)
            moved = onnx.NodeProto()
            moved.CopyFrom(node)
            moved.input[0] = f"{read}_moved"
            node = moved
        out.graph.node.append(node)
    return out, names
