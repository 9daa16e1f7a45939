"""The folder of a sweep: whose it is, what was given in memory, rows that are done.

    sweep.json    of which model, images and options its rows are
    inputs/       the model and the images, where they came in memory
    cells/        a file for each run that is done
    running/      checkpoints of those that are not
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import uuid
import zipfile
from typing import TYPE_CHECKING, Any, BinaryIO, Mapping, NamedTuple, Optional

from . import _data, _model
from ._cell import Cell
from ._errors import CheckpointError, DataError, ModelError, OutputError
from ._native import __version__

if TYPE_CHECKING:
    from ._data import Data
    from ._model import Model

_FORMAT = "onnx-bnnprune-sweep/1"
# Images that are made from the network.
_SYNTHETIC = "synthetic"
# Options that the rows do not depend on.
_FREE = frozenset(
    {
        "cache_dir",
        "cache_disk_mb",
        "cache_mb",
        "checkpoint_every",
        "images_mb",
        "in_process",
        "memory",
        "ops_library",
        "ort_lib",
        "threads",
        "timeout",
    }
)
_OTHER = "give another folder, or remove this one"


class Inputs(NamedTuple):
    """The files that all runs read."""

    model: str
    data: str
    val: Optional[str]


class Folder:
    """Where a sweep is kept."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        try:
            for name in ("cells", "running"):
                os.makedirs(os.path.join(self.path, name), exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror or error}", file=self.path) from error

    def claim(
        self,
        model: Model,
        data: Data,
        labels: Any,
        val: Optional[Data],
        options: Mapping[str, Any],
    ) -> Inputs:
        """The files of these inputs, after making sure that the rows here are theirs."""
        # In the folder, so that what is written is moved and not copied.
        new = tempfile.mkdtemp(prefix=".inputs-", dir=self.path)
        try:
            given = Inputs(
                os.path.abspath(_model.file_of(model, new, "model")),
                _images(_data.file_of(data, labels, new, "data")),
                None if val is None else _images(_data.file_of(val, None, new, "val")),
            )
            self._claimed(_identity(given, new, options))
            return self._kept(given, new)
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def row(self, cell: Cell) -> Optional[tuple[dict[str, Any], list[str]]]:
        """The row of a run and its warnings, if it is done."""
        found = _read(self._file(cell))
        if found is None:
            return None
        row, warned = found.get("row"), found.get("warnings")
        if not isinstance(row, dict) or not isinstance(warned, list) or not cell.is_of(row):
            raise _unreadable(self._file(cell))
        return row, warned

    def keep(self, cell: Cell, row: Mapping[str, Any], warned: list[str], node: str) -> None:
        """Keeps the row of a run and where that was; its checkpoint has served its turn."""
        write(self._file(cell), {"row": row, "warnings": warned, "node": node})
        shutil.rmtree(self.checkpoint(cell), ignore_errors=True)

    def checkpoint(self, cell: Cell) -> str:
        """The folder of a run's checkpoint."""
        return os.path.join(self.path, "running", cell.name)

    def _file(self, cell: Cell) -> str:
        return os.path.join(self.path, "cells", f"{cell.name}.json")

    def _claimed(self, identity: dict[str, Any]) -> None:
        path = os.path.join(self.path, "sweep.json")
        found = _read(path)
        if found is None or (found != identity and not self._begun()):
            shutil.rmtree(os.path.join(self.path, "inputs"), ignore_errors=True)
            write(path, identity)
            return
        if found.get("format") != _FORMAT:
            raise _unreadable(path)
        for what, value in identity.items():
            if what != "options" and found.get(what) != value:
                raise CheckpointError(
                    f"{self.path}: is of a sweep with another {what}; {_OTHER}", file=self.path
                )
        here, there = identity["options"], found.get("options") or {}
        for name in sorted({*here, *there}):
            if here.get(name) != there.get(name):
                raise CheckpointError(
                    f"{self.path}: is of a sweep with another {name}: {there.get(name)}, not "
                    f"{here.get(name)}; {_OTHER}",
                    file=self.path,
                )

    def _begun(self) -> bool:
        """Whether there is anything to lose."""
        kept = (os.walk(os.path.join(self.path, name)) for name in ("cells", "running"))
        return any(files for folders in kept for _, _, files in folders)

    def _kept(self, given: Inputs, new: str) -> Inputs:
        """``given`` with files that stay."""
        inputs = os.path.join(self.path, "inputs")
        os.makedirs(inputs, exist_ok=True)
        for name in os.listdir(new):
            # The same as what may be there already, and read by runs that are under way.
            if not os.path.exists(os.path.join(inputs, name)):
                os.replace(os.path.join(new, name), os.path.join(inputs, name))

        def moved(path: str) -> str:
            written = os.path.dirname(path) == new
            return os.path.join(inputs, os.path.basename(path)) if written else path

        val = None if given.val is None else moved(given.val)
        return Inputs(moved(given.model), moved(given.data), val)


def write(path: str, value: Mapping[str, Any]) -> None:
    """Writes JSON: there is the whole file or none."""
    written = os.path.join(os.path.dirname(path), f".{uuid.uuid4().hex}")
    try:
        with open(written, "x", encoding="utf-8") as file:
            json.dump(value, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(written, path)
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror or error}", file=path) from error
    finally:
        if os.path.exists(written):
            os.remove(written)


def _read(path: str) -> Optional[dict[str, Any]]:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unreadable(path) from error
    if not isinstance(found, dict):
        raise _unreadable(path)
    return found


def _unreadable(path: str) -> CheckpointError:
    return CheckpointError(f"{path}: is not what a sweep keeps there; {_OTHER}", file=path)


def _images(path: str) -> str:
    return path if path == _SYNTHETIC else os.path.abspath(path)


def _identity(given: Inputs, new: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What rows depend on, beside the method, the share and the seed."""
    shaping = {name: value for name, value in options.items() if name not in _FREE}
    return {
        "format": _FORMAT,
        "version": __version__,
        "model": _model_digest(given.model),
        "data": _images_digest(given.data, new),
        "val": None if given.val is None else _images_digest(given.val, new),
        # As they come back from the file.
        "options": json.loads(json.dumps(shaping, default=_plain)),
    }


def _plain(value: Any) -> Any:
    """A value that JSON does not know, as one that it does."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    return list(value)


def _model_digest(path: str) -> str:
    digest = hashlib.sha256()
    try:
        for part in (path, path + ".data"):
            if part == path or os.path.exists(part):
                with open(part, "rb") as file:
                    _feed(digest, file)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}", file=path) from error
    return digest.hexdigest()


def _images_digest(path: str, new: str) -> str:
    """Images in memory by what they are, files and folders by where they are."""
    if path == _SYNTHETIC:
        return path
    if os.path.dirname(path) != new:
        if not os.path.exists(path):
            raise DataError(f"{path}: does not exist", file=path)
        return path
    digest = hashlib.sha256()
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            digest.update(name.encode())
            with archive.open(name) as member:
                _feed(digest, member)
    return digest.hexdigest()


def _feed(digest: Any, file: BinaryIO | Any) -> None:
    while block := file.read(1 << 20):
        digest.update(block)
