"""One run of a comparison: a method, a share, a seed."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from typing import Any, Iterable, Mapping, Optional, Sequence

from ._call import Call
from ._errors import BnnpruneError, BnnpruneWarning, UsageError

UNPRUNED = "unpruned"


@dataclass(frozen=True)
class Cell:
    """One run of the plan."""

    method: str
    ratio: float
    seed: int

    @property
    def name(self) -> str:
        """A name for files."""
        return f"{self.method}-{self.ratio!r}-{self.seed}"

    @property
    def only(self) -> str:
        """As ``compare --only`` takes it."""
        return f"{self.method}:{self.ratio!r}:{self.seed}"

    def __str__(self) -> str:
        if self.method == UNPRUNED:
            return f"{self.method}, seed {self.seed}"
        return f"{self.method} at {self.ratio:g}, seed {self.seed}"

    def is_of(self, row: Mapping[str, Any]) -> bool:
        """Whether ``row`` is this run's."""
        return (row["method"], row["ratio"], row["seed"]) == (self.method, self.ratio, self.seed)


def plan(methods: Iterable[str], ratios: Iterable[float], seeds: Iterable[int]) -> list[Cell]:
    """Every run in the order of ``compare``: for each seed the unpruned network, then each method at
    each share."""
    methods, ratios = list(methods), [float(ratio) for ratio in ratios]
    if UNPRUNED in methods:
        raise UsageError(f"methods: {UNPRUNED} is always compared with; leave it out")
    cells = []
    for seed in map(int, seeds):
        if not 0 <= seed < 2**64:
            raise UsageError(f"seeds: {seed} is not from 0 to 2^64 - 1")
        cells.append(Cell(UNPRUNED, 0.0, seed))
        cells += [Cell(method, ratio, seed) for ratio in ratios for method in methods]
    if not cells:
        raise UsageError("seeds: at least one is needed")
    return list(dict.fromkeys(cells))


def run(
    cell: Cell, model: str, data: str, val: Optional[str], options: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """The row of a run, as ``compare`` has it, and what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BnnpruneWarning)
        with Call("sweep", "compare", {**options, "only": cell.only}) as call:
            call.model(model)
            call.images(data)
            call.images(val, name="val")
            report = call.file("report")
            call.run(False)
            with open(report, encoding="utf-8") as file:
                (row,) = json.load(file)["rows"]
    texts = [str(w.message) for w in caught if issubclass(w.category, BnnpruneWarning)]
    return row, list(dict.fromkeys(texts))


def check(cells: Sequence[Cell], data: Any, val: Any, options: Mapping[str, Any]) -> None:
    """Raises what is wrong with the options, before a model or an image is read."""
    pruned = [cell for cell in cells if cell.method != UNPRUNED]
    methods = list(dict.fromkeys(cell.method for cell in pruned))
    ratios = list(dict.fromkeys(cell.ratio for cell in pruned))
    # Of none where only the unpruned network is retrained.
    choice = {"methods": methods, "ratios": ratios} if pruned else {}
    with Call("sweep", "compare", {**options, **choice}) as call:
        # The first file that would be read; there is none.
        nowhere = call.workspace.path("none.onnx")
        call.options["checkpoint"] = call.workspace.path("none")
        call.model(nowhere)
        call.images(data if isinstance(data, str) else nowhere)
        call.images(None if val is None else nowhere, name="val")
        try:
            call.run(False)
        except UsageError:
            raise
        except BnnpruneError:
            pass
