"""What calls return."""

from __future__ import annotations

import html
import os
from typing import TYPE_CHECKING, Any, Iterable, Optional

from . import _model, _native
from ._errors import BnnpruneError, ModelError, OutputError, UsageError
from ._workspace import Workspace

if TYPE_CHECKING:
    import pandas
    from onnx import ModelProto

# What a report's rows are, by its keys.
_ROWS = ("layers", "rows", "models", "classes", "epochs")


class Report(dict[str, Any]):
    """A report as the command writes it as JSON: a dict."""

    #: The same as a page for a browser (``--html``), where there is one.
    html: Optional[str] = None

    def to_pandas(self) -> pandas.DataFrame:
        """Its table: a row a layer (of ``compare``: a run, of ``check``: a model)."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas() needs pandas: pip install pandas") from error
        rows = next((self[key] for key in _ROWS if isinstance(self.get(key), list)), None)
        return pandas.DataFrame(rows) if rows is not None else pandas.json_normalize(dict(self))

    def _repr_html_(self) -> str:
        if self.html is not None:
            return framed(self.html)
        rows = next((self[key] for key in _ROWS if isinstance(self.get(key), list)), None)
        if not rows:
            return table(("", ""), ((key, self[key]) for key in self))
        columns = [key for key, value in rows[0].items() if not isinstance(value, (list, dict))]
        return table(columns, ([row.get(key) for key in columns] for row in rows))


class ModelResult:
    """A model that a call wrote, and its report."""

    def __init__(self, path: Optional[str], report: Report, workspace: Workspace) -> None:
        #: The report.
        self.report = report
        # Holds the file as long as this lives.
        self._workspace = workspace
        self._path = path

    @property
    def path(self) -> str:
        """The model's file; one that was not asked for by name goes with this object."""
        if self._path is None:
            raise BnnpruneError("there is no model: this is the plan of a dry run")
        return self._path

    @property
    def model(self) -> ModelProto:
        """The model, read from its file each time."""
        return _model.load(self.path)

    def to_bytes(self) -> bytes:
        """The bytes of the model's file."""
        beside = os.path.exists(self.path + ".data")
        if beside and os.path.getsize(self.path) < self.report["output"]["bytes"]:
            raise ModelError("the model's weights are 2 GiB or more: save() it, or take its path")
        with open(self.path, "rb") as file:
            return file.read()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model to ``path`` (weights of 2 GiB and more: to ``path.data``)."""
        no_stream("path", path)
        answer = _native.copy_model(self.path, os.fspath(path))
        if answer["kind"]:
            raise OutputError(answer["message"], file=os.fspath(path))


class PruneResult(ModelResult):
    """A pruned model: ``model``, ``save()``, ``report``, ``masks``, ``kept``."""

    def __init__(
        self,
        path: Optional[str],
        report: Report,
        workspace: Workspace,
        masks: Optional[dict[str, Any]],
    ) -> None:
        super().__init__(path, report, workspace)
        #: Which filters were masked, as a masks file holds it; ``None`` where none were chosen.
        self.masks = masks

    @property
    def kept(self) -> dict[str, list[int]]:
        """Of each layer, the indices of the filters that are left, in the model that was given."""
        kept = {}
        for layer in self.report["layers"]:
            gone = set(layer["pruned"])
            kept[layer["name"]] = [i for i in range(layer["filters"]) if i not in gone]
        return kept

    def __repr__(self) -> str:
        totals = self.report["totals"]
        gone = totals["filters"] - totals["kept"]
        return f"<PruneResult: {gone} of {totals['filters']} binary filters pruned>"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self._sentence())}</p>" + self.report._repr_html_()

    def _sentence(self) -> str:
        said = repr(self)[1:-1].partition(": ")[2]
        accuracy = self.report.get("accuracy")
        if accuracy:
            said += f"; accuracy {accuracy['before']:.2%} → {accuracy['after']:.2%}"
        verification = self.report.get("verification")
        if verification:
            found = "passed" if verification["passed"] else "FAILED"
            said += f"; verification {found} in {verification['runtime']}"
            said += f" {verification['runtime_version']}"
        return said


class TrainResult(ModelResult):
    """A trained model: ``model``, ``save()``, ``report``."""

    def _repr_html_(self) -> str:
        return self.report._repr_html_()


def no_stream(option: str, value: Any) -> None:
    """Refuses standard output, which is the whole program's."""
    if isinstance(value, (str, bytes, os.PathLike)) and os.fsdecode(value) == "-":
        raise UsageError(
            f"{option}: a function does not write to standard output; name a file, or take what it returns"
        )


def framed(page: str) -> str:
    """A page within another one: neither's styles touch the other's."""
    return (
        f'<iframe srcdoc="{html.escape(page)}" sandbox="" title="Report of onnx-bnnprune" '
        'style="width: 100%; height: 40rem; border: 1px solid #8888; border-radius: 4px"></iframe>'
    )


def table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """An HTML table; everything in it is text."""
    head = "".join(f"<th>{html.escape(str(c))}</th>" for c in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(value))}</td>" for value in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
