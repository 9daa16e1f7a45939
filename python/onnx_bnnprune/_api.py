"""The functions of the package: each makes a command line of its arguments, and runs it in this process."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Iterable, Mapping, Optional, Sequence, Union, cast

from . import _native
from ._call import Call
from ._errors import BnnpruneError, BudgetExceeded, UsageError, VerificationFailed
from ._progress import Progress
from ._results import ModelResult, PruneResult, Report, TrainResult

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from . import _options as options_
    from ._data import Data
    from ._model import Model

    Path = Union[str, "os.PathLike[str]"]


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
    return _pruned("eliminate", model, data, labels, None, output, progress, options)


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
    with Call(function, None, options) as call:
        call.savable(data=data, val=val)
        call.model(model)
        path = call.output(output)
        call.images(data, labels)
        call.images(val, name="val")
        report_file = call.file("report")
        masks_file = None
        given, dry_run = call.names(), call.flag("dry_run")
        if function == "eliminate" and "masks" in given:
            raise UsageError("eliminate removes what cannot matter, not masks; call apply_masks")
        if function == "eliminate" and options.get("method") not in (None, "none"):
            raise UsageError("eliminate chooses no filters: it has no method; call prune")
        if function == "eliminate" and "data" in given:
            # Also if a file names the images, or another method.
            call.options["method"] = "none"
        learned = "data" in given and call.given("method") != "none"
        if ("masks" in given or learned) and not dry_run:
            masks_file = call.file("save_masks")
        page = call.file("html")
        answer = call.run(progress)
        if answer["code"] != 0:
            raise _refused(call, answer)
        report = call.read(report_file)
        masks = None if masks_file is None else _json(masks_file)
        written = None if dry_run else path
        report.html = call.page(page)
        return PruneResult(written, report, call.workspace, masks)


def _refused(call: Call, answer: _native.Answer) -> BnnpruneError:
    """Why a result was not written."""
    why, report = call.refusal(answer), call.written_report()
    if report is None:
        # It could not be written either.
        costly = "--max-drop" in why
    else:
        verification, budget = report.get("verification") or {}, report.get("budget") or {}
        costly = verification.get("passed", False) and not budget.get("met", True)
    error = BudgetExceeded if costly else VerificationFailed
    return error(why, exit_code=answer["code"], report=report)


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
    with Call("train", "train", options) as call:
        call.model(model)
        path = call.output(output)
        call.images(data, labels)
        call.images(val, name="val")
        report, page = call.file("report"), call.file("html")
        call.run(progress)
        found = call.read(report)
        found.html = call.page(page)
        return TrainResult(path, found, call.workspace)


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
    with Call("compare", "compare", options) as call:
        call.model(model)
        call.images(data, labels)
        call.images(val, name="val")
        report, page = call.file("report"), call.file("html")
        call.run(progress)
        found = call.read(report)
        found.html = call.page(page)
        return found


def evaluate(
    model: Model,
    data: Data,
    *,
    labels: Any = None,
    **options: Unpack[options_.Evaluate],
) -> Report:
    """Accuracy (with the confusion matrix) and latency of a model in a runtime."""
    with Call("evaluate", "eval", options) as call:
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
    with Call("verify", "verify", options) as call:
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
    with Call("check", "check", options) as call:
        for index, model in enumerate(given):
            call.model(model, f"model{index}")
        return call.report()


def inspect(model: Model, **options: Unpack[options_.Inspect]) -> Report:
    """Binary layers, groups, and what can be pruned and what cannot, and why."""
    with Call("inspect", "inspect", options) as call:
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
    with Call("convert", "convert", {**options, "to": to}) as call:
        call.model(model)
        path = call.output(output)
        call.images(data)
        report, page = call.file("report"), call.file("html")
        answer = call.run(progress)
        if answer["code"] != 0:
            raise _refused(call, answer)
        found = call.read(report)
        found.html = call.page(page)
        return ModelResult(path, found, call.workspace)
