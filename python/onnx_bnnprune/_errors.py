"""Exceptions: one for each kind of failure, with the file, the node and the remedy where they are known."""

from __future__ import annotations

import os
import re
from typing import Any, Mapping, Optional, Sequence


class BnnpruneWarning(UserWarning):
    """Something looks wrong, but does not stop the run."""


class BnnpruneError(Exception):
    """Why a call did not do what it was asked for.

    ``file`` is the file or folder concerned (``None`` for what was given in memory), ``node`` the
    ONNX node or layer, ``remedy`` what to do, ``exit_code`` what the command would have ended with.
    ``report`` is the run's report, where it came that far.
    """

    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        file: Optional[str] = None,
        exit_code: Optional[int] = None,
        report: Any = None,
    ) -> None:
        super().__init__(message)
        self.file = file
        node = re.search(r"\b(?:node|layer) '([^']*)'", message)
        self.node = node.group(1) if node else None
        # Messages end in what to do, but for what came of it.
        _, parted, remedy = re.sub(r"; [^;]* (was|is) not written$|; nothing was written$", "", message).rpartition("; ")
        self.remedy = remedy if parted else None
        if exit_code is not None:
            self.exit_code = exit_code
        self.report = report


class UsageError(BnnpruneError, ValueError):
    """Options that contradict each other or have no effect, and values that none takes."""


class ModelError(BnnpruneError):
    """A model that cannot be read, is invalid, or cannot be run or learned from."""


class DataError(BnnpruneError):
    """Images that cannot be read, do not suit the model, or do not seem to be what it was trained on."""


class MasksError(BnnpruneError):
    """Masks that cannot be read, or do not fit the model."""


class CheckpointError(BnnpruneError):
    """A checkpoint that cannot be read or written, or is of another run."""


class OutputError(BnnpruneError):
    """A file that cannot be written."""


class RuntimeMissingError(BnnpruneError):
    """Neither ONNX Runtime nor another runtime that may verify is there."""

    exit_code = 3


class VerificationFailed(BnnpruneError):
    """A model does not compute what it should; nothing was written."""

    exit_code = 1


class BudgetExceeded(BnnpruneError):
    """More was lost than ``max_drop`` allows; nothing was written."""

    exit_code = 1


class InternalError(BnnpruneError):
    """A defect of the tool."""

    exit_code = 101


# By what the extension module calls them.
KINDS = {
    "usage": UsageError,
    "model": ModelError,
    "data": DataError,
    "masks": MasksError,
    "checkpoint": CheckpointError,
    "output": OutputError,
    "runtime_missing": RuntimeMissingError,
    "verification": VerificationFailed,
    "internal": InternalError,
}

# Of these there may be folders, which errors name files of.
_FOLDERS = ("model", "checkpoint")


def error_of(
    kind: str, file: Optional[str], files: Mapping[str, Sequence[str]]
) -> type[BnnpruneError]:
    """The exception of a kind of failure; where only the file tells what it is, by the kinds of ``files``."""
    if kind != "unsuitable":
        return KINDS.get(kind, BnnpruneError)
    if file is not None:
        at = os.path.abspath(file)
        for role, paths in files.items():
            for path in map(os.path.abspath, paths):
                inside = role in _FOLDERS and at.startswith(os.path.join(path, ""))
                if at == path or inside:
                    return KINDS[role]
    return DataError
