"""One call of the command: what is given becomes a command line, what comes back results or errors."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any, Mapping, Optional, Union

from . import _data, _model, _native
from ._arguments import arguments, toml
from ._errors import OutputError, UsageError, error_of
from ._installation import around
from ._progress import Listener, Progress
from ._results import Report, no_stream
from ._workspace import Workspace, replace

if TYPE_CHECKING:
    from ._data import Data
    from ._model import Model

    Path = Union[str, "os.PathLike[str]"]

_OWN = frozenset({"data", "val", "json", "quiet", "verbose", "log_file", "markdown"})
# Files that a call writes besides a model's.
_WRITTEN = (
    "report",
    "html",
    "save_masks",
    "save_masked",
    "save_config",
    "junit",
    "write_baseline",
)
# Options that JSON in memory may be given for.
_JSON = ("masks", "like", "preprocessor")


class Call:
    """One call of the command."""

    def __init__(self, function: str, command: Optional[str], options: Mapping[str, Any]) -> None:
        self.function = function
        self.command = command
        self.options = {name: value for name, value in options.items() if value is not None}
        # Before anything is written.
        arguments(function, command, self.options, _OWN)
        self.config = self._configured(self.options.get("config"))
        for option in _WRITTEN:
            no_stream(option, self.given(option))
        self.arguments: list[str] = []
        self.files: list[str] = []
        self.models: list[str] = []
        # Models that are written, and which files are there before.
        self.outputs: dict[str, object] = {}
        # The same of the report.
        self.reports: dict[str, object] = {}
        place = self.given("cache_dir")
        self.workspace = Workspace(None if place is None else os.fsdecode(place))

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
        no_stream("output", output)
        path = os.fspath(output) if output is not None else self.workspace.path("model.onnx")
        self.files.append(path)
        self.outputs[path] = _identity(path)
        return path

    def file(self, option: str) -> str:
        """The file that an option names, here if the caller does not care."""
        if self.given(option) is None:
            name = "page.html" if option == "html" else f"{option}.json"
            self.options[option] = self.workspace.path(name)
        path = os.fsdecode(self.given(option))
        if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
            raise UsageError(f"{option}: {path} is no file, and could not be read back; name a file")
        if option == "report":
            self.reports[path] = _identity(path)
        return path

    def page(self, path: str) -> str:
        """The page that was written to ``path``, without what only this call knows."""
        with open(path, encoding="utf-8") as file:
            return self.workspace.without_own_files(file.read())

    def names(self) -> set[str]:
        """The names of all options that are given, here or in ``config``."""
        here = (argument[2:].partition("=")[0] for argument in self.arguments)
        return {*self.options, *here, *self.config}

    def given(self, option: str) -> Any:
        """The value of an option, here or in ``config``; of lists in a file nothing is known."""
        return self.options.get(option, self.config.get(option))

    def flag(self, option: str) -> bool:
        """Whether an option without a value is given, here or in ``config``."""
        return bool(self.options.get(option, self.config.get(option) in (True, "true")))

    def savable(self, **images: Optional[Data]) -> None:
        """Refuses ``save_config`` where values lie in memory: no file could name them."""
        if "save_config" not in self.options:
            return
        given = {**self.config, **self.options, **images}
        # A preprocessor's options are saved themselves.
        unsaved = [
            name
            for name in ("data", "val", "masks", "like", "classes")
            if given.get(name) is not None and not isinstance(given[name], (str, bytes, os.PathLike))
        ]
        if unsaved:
            raise UsageError(
                f"save_config cannot save what is given in memory: {', '.join(unsaved)}; "
                "give paths, or leave save_config away"
            )

    def run(self, progress: Progress = False) -> _native.Answer:
        """Runs the command."""
        self._spool()
        if self.flag("in_process"):
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
        # What was computed is not lost for a name: files say what is true as they are.
        with contextlib.suppress(OSError, ValueError):
            self._forget_own_files()
        with contextlib.suppress(OSError, ValueError):
            self._name_own_files()
        # Of models that are bad, check itself names no failure.
        if answer["code"] >= 2 or (self.function == "check" and answer["failures"]):
            raise self._unwritten(answer)
        return answer

    def report(self) -> Report:
        """Runs the command for what it prints as JSON."""
        self.arguments.append("--json")
        return self._report(self.run()["text"])

    def read(self, path: str) -> Report:
        """The report that was written to ``path``."""
        with open(path, encoding="utf-8") as file:
            return self._report(file.read())

    def written_report(self) -> Optional[Report]:
        """The report of a run that failed, where it came that far."""
        for path, before in self.reports.items():
            if _identity(path) not in (None, before):
                with contextlib.suppress(OSError, ValueError):
                    return self.read(path)
        return None

    def _report(self, text: str) -> Report:
        return Report(self.workspace.without_own_names(json.loads(text)))

    def refusal(self, answer: _native.Answer) -> str:
        """Why there is no result."""
        message = "; ".join(answer["failures"])
        for path in filter(self.workspace.owns, self.outputs):
            message = message.replace(f"; {path} was not written", "")
        return message

    def _spool(self) -> None:
        """Puts what is in memory and belongs in files there."""
        config = self.options.get("config")
        if isinstance(config, Mapping):
            spooled = self._in_files(config)
            self.config = self._configured(spooled)
            self.options["config"] = self._written("config.toml", toml(spooled))
        self.options = self._in_files(self.options)

    def _configured(self, config: Any) -> dict[str, Any]:
        """What counts of ``config``: without what ``unset`` names, or what is False here and true there."""
        held = _held(config)
        given = self.options.get("unset", ())
        unset = [given] if isinstance(given, str) else list(given)
        unset += [name for name, value in self.options.items() if value is False and held.get(name) in (True, "true")]
        if unset:
            self.options["unset"] = list(dict.fromkeys(name.replace("-", "_") for name in unset))
        return {name: value for name, value in held.items() if name not in self.options.get("unset", ())}

    def _in_files(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """``options`` with paths of what can only be given as files."""
        spooled = dict(options)
        for option in _JSON:
            if isinstance(spooled.get(option), Mapping):
                text = json.dumps(spooled[option], default=_listed)
                spooled[option] = self._written(f"{option}.json", text)
        classes = spooled.get("classes")
        if classes is not None and not isinstance(classes, (str, os.PathLike)):
            text = "".join(f"{name}\n" for name in classes)
            spooled["classes"] = self._written("classes.txt", text)
        return spooled

    def _forget_own_files(self) -> None:
        """Takes files of this call's own out of what ``save_config`` wrote."""
        saved = self.options.get("save_config")
        if saved is None or not os.path.isfile(saved):
            return
        own = os.path.basename(self.workspace.folder)
        with open(saved, encoding="utf-8") as file:
            lines = [line for line in file if own not in line]
        replace(os.fsdecode(saved), "".join(lines))

    def _name_own_files(self) -> None:
        """Takes this call's folder out of the report and the page that the caller has named."""
        own = os.path.basename(self.workspace.folder)
        for option in ("report", "html"):
            named = self.given(option)
            path = "" if named is None else os.fsdecode(named)
            if not os.path.isfile(path) or self.workspace.owns(path):
                continue
            with open(path, encoding="utf-8") as file:
                text = file.read()
            if own not in text:
                continue
            if option == "report":
                report = self.workspace.without_own_names(json.loads(text))
                text = json.dumps(report, indent=2) + "\n"
            else:
                text = self.workspace.without_own_files(text)
            replace(path, text)

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
        error = error_of(kind, file, self._files())
        if file is not None and self.workspace.holds(file):
            file = None
        return error(message, file=file, exit_code=answer["code"])

    def _unwritten(self, answer: _native.Answer) -> OutputError:
        """That a file beside the model could not be written, and where the model is."""
        message = self.refusal(answer)
        for path, before in self.outputs.items():
            if _identity(path) not in (None, before):
                message += f" (the model is in {path})"
                if self.workspace.owns(path):
                    self.workspace.leave()
        report = self.written_report()
        if report is None:
            # Of a command that prints it, it is there.
            with contextlib.suppress(ValueError):
                report = self._report(answer["text"])
        return OutputError(message, exit_code=max(2, answer["code"]), report=report)

    def _files(self) -> dict[str, list[str]]:
        """Files and folders of this call, by the kinds of errors that are about them."""

        def of(*options: str) -> list[str]:
            values = [self.given(option) for option in options]
            return [os.fsdecode(v) for v in values if isinstance(v, (str, bytes, os.PathLike))]

        beside = [os.path.join(path, "preprocessor_config.json") for path in of("preprocessor")]
        return {
            "model": self.models,
            "output": [*self.outputs, *of(*_WRITTEN)],
            "usage": [*of("config", "preprocessor"), *beside],
            "masks": of("masks", "like"),
            "checkpoint": of("checkpoint"),
        }

    def __enter__(self) -> Call:
        return self

    def __exit__(self, error: Any, *_: Any) -> None:
        self.workspace.close_inputs()
        if error is not None:
            self.workspace.close()


def _identity(path: str) -> object:
    """What tells a file from one that takes its place; ``None`` where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _held(config: Any) -> dict[str, Any]:
    """What ``config`` holds, a file's values as texts."""
    if config is None:
        return {}
    if isinstance(config, Mapping):
        items = config.items()
        return {str(k).replace("-", "_"): v for k, v in items if v is not None}
    return dict(_native.config_names(config))


def _listed(value: Any) -> Any:
    """Arrays and their numbers as JSON has them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise UsageError(f"{type(value).__name__} is nothing that JSON has; give lists and numbers")
