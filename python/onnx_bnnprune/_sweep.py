"""Sweeps: the runs of a comparison, side by side on a Ray cluster."""

from __future__ import annotations

import datetime
import json
import numbers
import os
import platform
import warnings
from typing import TYPE_CHECKING, Any, Mapping, Optional, Sequence, Union

from . import _cell, _native
from ._arguments import arguments
from ._cell import UNPRUNED, Cell
from ._cluster import Cluster, Job, Needs, Outcome, imported
from ._errors import BnnpruneError, BnnpruneWarning
from ._progress import Listener, Progress
from ._results import Report, framed, table
from ._sweep_folder import Folder, Inputs

if TYPE_CHECKING:
    import pandas
    from typing_extensions import Unpack

    from . import _options as options_
    from ._data import Data
    from ._model import Model

    Path = Union[str, "os.PathLike[str]"]

# Options that are the sweep's own; and a file's, which may hold those.
_OWN = frozenset(
    {
        "checkpoint",
        "config",
        "data",
        "html",
        "log_file",
        "markdown",
        "methods",
        "only",
        "quiet",
        "ratios",
        "report",
        "save_config",
        "seeds",
        "unset",
        "val",
        "verbose",
    }
)
# Options that name files or folders, which tasks find from other folders and machines.
_PATHS = ("cache_dir", "classes", "ops_library", "ort_lib", "preprocessor")


class SweepResult:
    """What a sweep found: ``report``, ``to_pandas()``, ``to_parquet()``, ``curves``."""

    def __init__(self, report: Report, folder: str) -> None:
        #: The report, as ``compare`` gives it.
        self.report = report
        #: Where the rows are kept.
        self.folder = folder

    def to_pandas(self) -> pandas.DataFrame:
        """A row a run."""
        return self.report.to_pandas()

    def to_parquet(self, path: Path) -> None:
        """Writes that table as a Parquet file."""
        path = os.fspath(path)
        # There is the whole file or none.
        written = f"{path}.unfinished"
        try:
            self.to_pandas().to_parquet(written)
            os.replace(written, path)
        except ImportError as error:
            raise ImportError("to_parquet() needs pyarrow: pip install pyarrow") from error
        finally:
            if os.path.exists(written):
                os.remove(written)

    @property
    def curves(self) -> dict[str, list[dict[str, Any]]]:
        """Accuracy against what was removed: for each method its shares in order, means over seeds.

        ``accuracy_error`` is the standard error of the mean, ``against_unpruned`` by how much it is
        better than the unpruned network that was retrained alike with the same seed.
        """
        unpruned = {
            row["seed"]: row["accuracy_after"]
            for row in self.report["rows"]
            if row["method"] == UNPRUNED
        }
        points: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
        for row in self.report["rows"]:
            points.setdefault((row["method"], row["ratio"]), []).append(row)
        curves: dict[str, list[dict[str, Any]]] = {}
        for (method, ratio), of in points.items():
            accuracies = [row["accuracy_after"] for row in of]
            curves.setdefault(method, []).append(
                {
                    "ratio": ratio,
                    "runs": len(of),
                    "filters_removed": _mean([row["pruned_ratio"] for row in of]),
                    "macs_removed": 1 - _mean([row["macs_left"] for row in of]),
                    "bytes_removed": 1 - _mean([row["bytes_left"] for row in of]),
                    "accuracy": _mean(accuracies),
                    "accuracy_error": _error(accuracies),
                    "against_unpruned": _mean(
                        [row["accuracy_after"] - unpruned[row["seed"]] for row in of]
                    ),
                }
            )
        for curve in curves.values():
            curve.sort(key=lambda point: float(point["filters_removed"]))
        return curves

    def __repr__(self) -> str:
        return f"<SweepResult: {len(self.report['rows'])} runs>"

    def _repr_html_(self) -> str:
        if self.report.html is not None:
            return framed(self.report.html)
        points = [{"method": m, **point} for m, curve in self.curves.items() for point in curve]
        return table(points[0], (point.values() for point in points))


def sweep(
    model: Model,
    data: Data,
    methods: Union[str, Sequence[str]] = ("subsidiary", "random"),
    ratios: Union[float, Sequence[float]] = (0.3, 0.5),
    seeds: Union[int, Sequence[int]] = 3,
    *,
    folder: Path,
    labels: Any = None,
    val: Optional[Data] = None,
    address: Optional[str] = None,
    num_cpus: float = 1,
    resources: Optional[Mapping[str, float]] = None,
    max_retries: int = 3,
    progress: Progress = None,
    **options: Unpack[options_.Sweep],
) -> SweepResult:
    """Runs what ``compare`` runs, each method at each share with each seed as a task of Ray.

    ``seeds`` is a number of seeds, from 0, or the seeds themselves. ``folder`` keeps the row of each
    run that is done, and checkpoints of the others: the same call goes on from there, also with more
    methods, shares or seeds. On several machines, ``folder``, and ``model`` and ``data`` where they
    are paths, are on a file system that all of them share.

    Tasks go to the cluster that Ray is connected to, else to the one at ``address`` (as ``ray.init``
    takes it), else to this machine. Each takes ``num_cpus`` CPUs, as many ``threads``, and
    ``resources``. A task whose node or process dies is begun anew up to ``max_retries`` times, from
    its checkpoint. What a run itself raises is raised once all others are done, with their report as
    ``error.report``.

    ``options`` are those of ``compare``. ``progress`` counts runs.
    """
    imported()
    given = _options(dict(options), num_cpus)
    seeds = range(int(seeds)) if isinstance(seeds, (int, numbers.Integral)) else seeds
    cells = _cell.plan(_several(methods), _several(ratios), seeds)
    _cell.check(cells, data, val, given)
    place = Folder(os.fsdecode(folder))
    inputs = place.claim(model, data, labels, val, given)
    done = {cell: kept for cell in cells if (kept := place.row(cell)) is not None}
    table_of = {cell: row for cell, (row, _) in done.items()}
    kept_warnings = [text for _, texts in done.values() for text in texts]
    warned: dict[str, Cell] = {}
    failed: dict[Cell, BaseException] = {}
    listener = Listener(progress)
    started = _now()

    def tell(cell: Cell, outcome: Outcome) -> None:
        row, texts, error = outcome
        if row is not None:
            table_of[cell] = row
        elif error is not None:
            failed[cell] = error
        for text in texts:
            warned.setdefault(text, cell)
        listener([_event("detail", str(cell), 0), _event("advance", "", 1)])

    try:
        listener([_event("begin", "sweeping", len(cells)), _event("advance", "", len(done))])
        left = [cell for cell in cells if cell not in done]
        if left:
            job = Job(place.path, inputs, given)
            needs = Needs(num_cpus, dict(resources or {}), max_retries)
            with Cluster(address) as cluster:
                cluster.check(job, needs)
                cluster.run(job, left, needs, tell)
    except KeyboardInterrupt:
        told = f"interrupted; the same call goes on from what {place.path} keeps"
        raise KeyboardInterrupt(told) from None
    finally:
        listener.close()
    for text, cell in warned.items():
        warnings.warn(f"{cell}: {text}", BnnpruneWarning, stacklevel=2)
    report = _report(inputs, [table_of[cell] for cell in cells if cell in table_of], list(dict.fromkeys([*kept_warnings, *warned])), started)
    if failed:
        raise _failure(failed, len(cells), report)
    return SweepResult(report, place.path)


def _options(options: dict[str, Any], num_cpus: float) -> dict[str, Any]:
    """Options as tasks take them."""
    given = {name: value for name, value in options.items() if value is not None}
    # Raises what Python raises for an argument that there is not.
    arguments("sweep", "compare", given, _OWN)
    for name in _PATHS:
        if isinstance(given.get(name), (str, os.PathLike)):
            given[name] = os.path.abspath(given[name])
    given.setdefault("threads", max(1, int(num_cpus)))
    return given


def _several(values: Any) -> Any:
    return [values] if isinstance(values, (str, numbers.Real)) else values


def _event(kind: str, text: str, steps: int) -> dict[str, Any]:
    return {"kind": kind, "text": text, "steps": steps}


def _now() -> str:
    now = datetime.datetime.now(datetime.timezone.utc)
    return now.strftime("%Y-%m-%dT%H:%M:%SZ")


def _report(
    inputs: Inputs, table_rows: list[dict[str, Any]], warned: list[str], started: str
) -> Report:
    """What ``compare`` would have reported; the machine is the caller's."""
    report = Report(
        tool="onnx-bnnprune",
        version=_native.__version__,
        model=inputs.model,
        data=inputs.data,
        rows=table_rows,
        warnings=warned,
        run={
            "command": [],
            "started": started,
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count() or 1,
            "system": f"{platform.system().lower()} {platform.machine()}",
        },
    )
    if table_rows:
        report.html = _native.comparison_page(json.dumps(report))
    return report


def _failure(failed: Mapping[Cell, BaseException], count: int, report: Report) -> BaseException:
    """The first failure, and how many there are."""
    cell, error = next(iter(failed.items()))
    message = f"{cell}: {error if isinstance(error, BnnpruneError) else repr(error)}"
    if len(failed) > 1:
        message = f"{len(failed)} of {count} runs failed; {message}"
    if isinstance(error, BnnpruneError):
        told = type(error)(message, file=error.file, exit_code=error.exit_code, report=report)
    else:
        told = BnnpruneError(message, report=report)
    told.__cause__ = error
    return told


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _error(values: Sequence[float]) -> Optional[float]:
    """The standard error of the mean, of several values."""
    if len(values) < 2:
        return None
    mean, n = _mean(values), len(values)
    return float((sum((v - mean) ** 2 for v in values) / (n - 1) / n) ** 0.5)
