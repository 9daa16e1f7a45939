"""The functions of the package: each makes a command line of its arguments, and runs it in this process."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Iterable, Mapping, Optional, Sequence, Union, cast

from . import _data, _model, _native
from ._arguments import arguments, toml
from ._errors import (
    KINDS,
    BnnpruneError,
    BudgetExceeded,
    DataError,
    ModelError,
    UsageError,
    VerificationFailed,
)
from ._installation import around
from ._progress import Listener, Progress
from ._results import ModelResult, PruneResult, Report, TrainResult
from ._workspace import Workspace

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from . import _options as options_
    from ._data import Data
    from ._model import Model

    Path = Union[str, "os.PathLike[str]"]

_OWN = frozenset({"data", "val", "json", "quiet"})


class _Call:
    """One call of the command."""

    def __init__(self, function: str, command: Optional[str], options: Mapping[str, Any]) -> None:
        self.function = function
        self.command = command
        self.options = {name: value for name, value in options.items() if value is not None}
        # Before anything is written.
        arguments(function, command, self.options, _OWN)
        self.arguments: list[str] = []
        self.files: list[str] = []
        self.models: list[str] = []
        place = self.options.get("cache_dir")
        self.workspace = Workspace(os.fspath(place) if place is not None else None)

    def model(self, model: Model, name: str = "model") -> str:
        """Adds a model to the files of the command line."""
        path = _model.file_of(model, self.workspace.inputs, name)
        self.models.append(path)
        self.files.append(path)
        return path

    def images(self, data: Optional[Data], labels: Any = None, name: str = "data") -> None:
        """Adds images as the option of that name."""
        if data is None:
            if labels is not None:
                raise TypeError("labels are for data, which is not given")
            return
        path = _data.file_of(data, labels, self.workspace.inputs, name)
        self.arguments.append(f"--{name}={path}")

    def output(self, output: Optional[Path]) -> str:
        """Adds the model that is written to the files of the command line."""
        path = os.fspath(output) if output is not None else self.workspace.path("model.onnx")
        self.files.append(path)
        return path

    def file(self, option: str) -> str:
        """The file that an option names, here if the caller does not care."""
        if option not in self.options:
            self.options[option] = self.workspace.path(f"{option}.json")
        return str(os.fspath(self.options[option]))

    def names(self) -> set[str]:
        """The names of all options that are given, here or in ``config``."""
        names = {*self.options, *(argument[2:].partition("=")[0] for argument in self.arguments)}
        config = self.options.get("config")
        if isinstance(config, Mapping):
            names.update(name.replace("-", "_") for name in config)
        elif config is not None:
            names.update(_native.config_names(config))
        return names

    def run(self, progress: Progress = False) -> _native.Answer:
        """Runs the command."""
        self._spool()
        if self.options.get("in_process"):
            # Heeded when the library is loaded; a process of its own gets it anyway.
            os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        line = ["onnx-bnnprune", *([self.command] if self.command else [])]
        line += arguments(self.function, self.command, self.options, _OWN) + self.arguments
        listener = Listener(progress)
        try:
            answer = _native.call([*line, "--", *self.files], around(), listener)
        finally:
            listener.close()
        if answer["kind"]:
            raise self._error(answer)
        self._forget_own_files()
        return answer

    def report(self) -> Report:
        """Runs the command for what it prints as JSON."""
        self.arguments.append("--json")
        return Report(json.loads(self.run()["text"]))

    def _spool(self) -> None:
        """Puts what is in memory and belongs in files there."""
        config = self.options.get("config")
        if isinstance(config, Mapping):
            text = toml(self._in_files(config))
            self.options["config"] = self._written("config.toml", text)
        self.options = self._in_files(self.options)

    def _in_files(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """``options`` with paths of what can only be given as files."""
        spooled = dict(options)
        for option in ("masks", "like", "preprocessor"):
            if isinstance(spooled.get(option), Mapping):
                text = json.dumps(spooled[option])
                spooled[option] = self._written(f"{option}.json", text)
        classes = spooled.get("classes")
        if classes is not None and not isinstance(classes, (str, os.PathLike)):
            text = "".join(f"{name}\n" for name in classes)
            spooled["classes"] = self._written("classes.txt", text)
        return spooled

    def _forget_own_files(self) -> None:
        """Takes files of this call's own out of what ``save_config`` wrote."""
        saved = self.options.get("save_config")
        if saved is None or os.fspath(saved) == "-":
            return
        own = os.path.basename(self.workspace.folder)
        with open(saved, encoding="utf-8") as file:
            lines = [line for line in file if own not in line]
        with open(saved, "w", encoding="utf-8") as file:
            file.writelines(lines)

    def _written(self, name: str, text: str) -> str:
        path = os.path.join(self.workspace.inputs, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def _error(self, answer: _native.Answer) -> BaseException:
        kind, message = answer["kind"], self.workspace.named(answer["message"])
        file = None if answer["file"] is None else os.fspath(answer["file"])
        if kind == "interrupted":
            return KeyboardInterrupt(message)
        error = KINDS.get(kind, BnnpruneError)
        if kind == "unsuitable":
            error = ModelError if file in self.models else DataError
        if file is not None and self.workspace.holds(file):
            file = None
        return error(message, file=file, exit_code=answer["code"])

    def __enter__(self) -> _Call:
        return self

    def __exit__(self, error: Any, *_: Any) -> None:
        self.workspace.close_inputs()
        if error is not None:
            self.workspace.close()


def prune(
    model: Model,
    data: Optional[Data] = None,
    *,
    labels: Any = None,
    val: Optional[Data] = None,
    output: Optional[Path] = None,
    progress: Progress = None,
    **options: Unpack[options_.Prune],
) -> PruneResult:
    """Prunes a trained binary network, and proves the result in ONNX Runtime.

    ``model`` is a path, bytes or an ``onnx.ModelProto``. ``data`` are images to learn from: a path (a
    folder per class, or ``.npz``), an array ``x`` with its ``labels``, a pair ``(x, y)``, or an
    iterable of batches ``(x, y)`` such as a PyTorch ``DataLoader``. Arrays of floats are the model's
    input as they are, ``uint8`` are pixels. Without data only filters that cannot matter go. ``val``
    are validation images; without them a share of ``data`` is.

    ``options`` are the command's, with underscores: ``ratio=0.3, max_drop=1.0, checkpoint="run"``
    (``onnx-bnnprune --help`` lists them). ``progress`` is called with (phase, steps done, steps in
    all, detail), is ``True`` for bars of tqdm, or ``False`` for none.

    The same options and images give the same bytes as the command's. Ctrl-C stops at the next batch;
    with ``checkpoint`` the same call goes on from there.

    Raises ``BudgetExceeded`` if more is lost than ``max_drop`` allows, ``VerificationFailed`` if the
    pruned model does not compute what the masked one does, and what else `BnnpruneError` covers.
    """
    return _pruned("prune", model, data, labels, val, output, progress, options)


def eliminate(
    model: Model,
    data: Optional[Data] = None,
    *,
    labels: Any = None,
    output: Optional[Path] = None,
    progress: Progress = None,
    **options: Unpack[options_.Elimination],
) -> PruneResult:
    """Removes the filters that cannot matter: nothing is learned, and nothing is lost.

    With ``data`` the result is verified on these images, and accuracies are in the report.
    """
    given: dict[str, Any] = dict(options)
    if data is not None:
        given["method"] = "none"
    return _pruned("eliminate", model, data, labels, None, output, progress, given)


def apply_masks(
    model: Model,
    masks: Union[Path, Mapping[str, Any]],
    data: Optional[Data] = None,
    *,
    labels: Any = None,
    val: Optional[Data] = None,
    output: Optional[Path] = None,
    progress: Progress = None,
    **options: Unpack[options_.Application],
) -> PruneResult:
    """Removes exactly the filters that ``masks`` name; nothing is learned.

    ``masks`` is a masks file's path, what such a file holds (``result.masks``), or filters by layer:
    ``{"/conv2/Conv": [3, 5, 8]}``.
    """
    if isinstance(masks, Mapping) and "format" not in masks:
        masks = _with_counts(model, masks, options)
    given = {**options, "masks": masks}
    return _pruned("apply_masks", model, data, labels, val, output, progress, given)


def _with_counts(
    model: Model, masks: Mapping[str, Iterable[int]], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Filters by layer as a masks file has them."""
    sizes = {name: options[name] for name in ("input_shape", "dim") if name in options}
    layers = inspect(model, **cast(Any, sizes))["layers"]
    counts = {layer["name"]: layer["filters"] for layer in layers}
    return {
        "format": "onnx-bnnprune-masks/1",
        "layers": {
            # A layer that does not exist is refused by whoever reads this.
            name: {"filters": counts.get(name, 0), "pruned": sorted(int(f) for f in filters)}
            for name, filters in masks.items()
        },
    }


def _pruned(
    function: str,
    model: Model,
    data: Optional[Data],
    labels: Any,
    val: Optional[Data],
    output: Optional[Path],
    progress: Progress,
    options: Mapping[str, Any],
) -> PruneResult:
    with _Call(function, None, options) as call:
        call.model(model)
        call.images(data, labels)
        call.images(val, name="val")
        path = call.output(output)
        report_file = call.file("report")
        masks_file = None
        given = call.names()
        learned = "data" in given and call.options.get("method") != "none"
        if ("masks" in given or learned) and not call.options.get("dry_run"):
            masks_file = call.file("save_masks")
        answer = call.run(progress)
        report = Report(_json(report_file))
        if answer["code"] != 0:
            raise _refused(answer, report)
        masks = None if masks_file is None else _json(masks_file)
        written = None if call.options.get("dry_run") else path
        return PruneResult(written, report, call.workspace, masks)


def _refused(answer: _native.Answer, report: Report) -> BnnpruneError:
    """Why a result was not written."""
    verification, budget = report.get("verification") or {}, report.get("budget") or {}
    costly = verification.get("passed") and not budget.get("met", True)
    error = BudgetExceeded if costly else VerificationFailed
    return error("; ".join(answer["failures"]), exit_code=answer["code"], report=report)


def _json(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        return cast("dict[str, Any]", json.load(file))


def train(
    model: Model,
    data: Data,
    *,
    labels: Any = None,
    val: Optional[Data] = None,
    output: Optional[Path] = None,
    progress: Progress = None,
    **options: Unpack[options_.Train],
) -> TrainResult:
    """Trains a binary network as it is, from the weights that it has; nothing is pruned."""
    with _Call("train", "train", options) as call:
        call.model(model)
        call.images(data, labels)
        call.images(val, name="val")
        path = call.output(output)
        report = call.file("report")
        call.run(progress)
        return TrainResult(path, Report(_json(report)), call.workspace)


def compare(
    model: Model,
    data: Data,
    *,
    labels: Any = None,
    val: Optional[Data] = None,
    progress: Progress = None,
    **options: Unpack[options_.Compare],
) -> Report:
    """Ways of choosing filters side by side, over shares and seeds; nothing is written."""
    with _Call("compare", "compare", options) as call:
        call.model(model)
        call.images(data, labels)
        call.images(val, name="val")
        report = call.file("report")
        call.run(progress)
        return Report(_json(report))


def evaluate(
    model: Model,
    data: Data,
    *,
    labels: Any = None,
    **options: Unpack[options_.Evaluate],
) -> Report:
    """Accuracy (with the confusion matrix) and latency of a model in a runtime."""
    with _Call("evaluate", "eval", options) as call:
        call.model(model)
        call.images(data, labels)
        return call.report()


def verify(
    reference: Model,
    candidate: Model,
    data: Optional[Data] = None,
    **options: Unpack[options_.Verify],
) -> Report:
    """Whether two models compute the same: ``report["passed"]``, and what was found."""
    with _Call("verify", "verify", options) as call:
        call.model(reference, "reference")
        call.model(candidate, "candidate")
        call.images(data)
        return call.report()


def check(
    models: Union[Model, Sequence[Model]],
    **options: Unpack[options_.Check],
) -> Report:
    """Validates models, and every ``.onnx`` file of folders.

    ``report["models"]`` has each model's findings; all is well if ``report["passed"]`` is
    ``report["checked"]``.
    """
    several = isinstance(models, Sequence) and not isinstance(models, (str, bytes, bytearray))
    given = cast("Sequence[Model]", models) if several else [cast("Model", models)]
    if not given:
        raise UsageError("check needs at least one model")
    with _Call("check", "check", options) as call:
        for index, model in enumerate(given):
            call.model(model, f"model{index}")
        return call.report()


def inspect(model: Model, **options: Unpack[options_.Inspect]) -> Report:
    """Binary layers, groups, and what can be pruned and what cannot, and why."""
    with _Call("inspect", "inspect", options) as call:
        call.model(model)
        return call.report()


def convert(
    model: Model,
    to: options_.Form,
    *,
    data: Optional[Data] = None,
    output: Optional[Path] = None,
    progress: Progress = None,
    **options: Unpack[options_.Convert],
) -> ModelResult:
    """Writes a model in another form, nothing pruned, and verifies it, on images if there are some."""
    with _Call("convert", "convert", {**options, "to": to}) as call:
        call.model(model)
        call.images(data)
        path = call.output(output)
        report = call.file("report")
        answer = call.run(progress)
        found = Report(_json(report))
        if answer["code"] != 0:
            raise _refused(answer, found)
        return ModelResult(path, found, call.workspace)
