"""A folder for what lies in memory on one side and in files on the other."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import warnings
import weakref
from typing import Any, Optional

from ._errors import BnnpruneWarning


class Workspace:
    """A temporary folder that goes with this object: ``inputs`` with the call that needs it."""

    def __init__(self, parent: Optional[str] = None) -> None:
        self.folder = _made(parent)
        self._end = weakref.finalize(self, _remove, self.folder, os.getpid())
        self.inputs = os.path.join(self.folder, "inputs")
        os.mkdir(self.inputs)

    def path(self, name: str) -> str:
        """A file of that name in the folder."""
        return os.path.join(self.folder, name)

    def close_inputs(self) -> None:
        """Removes what only the call needed."""
        shutil.rmtree(self.inputs, ignore_errors=True)

    def close(self) -> None:
        """Removes the folder, unless a failed run has left its work there."""
        if any(".unfinished." in name for name in os.listdir(self.folder)):
            self.leave()
        else:
            self._end()

    def leave(self) -> None:
        """Lets the folder outlive this object: what is in it is the user's."""
        self._end.detach()

    def owns(self, path: str) -> bool:
        """Whether a file is one that nobody has named."""
        return os.path.dirname(path) == self.folder

    def named(self, message: str) -> str:
        """``message`` with what was given in memory by its name instead of its file's."""
        for name in sorted(os.listdir(self.inputs), key=len, reverse=True):
            label = name.partition(".")[0]
            message = message.replace(os.path.join(self.inputs, name), label)
        return message

    def without_own_files(self, text: str) -> str:
        """``text`` without options that name files here, and with the other ones by their names."""
        folder = re.escape(self.folder)
        text = re.sub(rf" --[a-z-]+={folder}[/\\](?!inputs)[^\s<]*", "", text)
        text = re.sub(rf"{folder}[/\\]inputs[/\\](\w+)\.\w+", r"\1", text)
        return text.replace(self.folder + os.sep, "")

    def without_own_names(self, value: Any) -> Any:
        """What JSON holds, with files here by what they are of: the same in each call."""
        if isinstance(value, str):
            # A word of a command line is one of a list.
            return self.without_own_files(f" {value}").removeprefix(" ")
        if isinstance(value, list):
            named = [(one, self.without_own_names(one)) for one in value]
            return [name for one, name in named if name != "" or one == ""]
        if isinstance(value, dict):
            return {key: self.without_own_names(one) for key, one in value.items()}
        return value

    def holds(self, path: str) -> bool:
        """Whether a file is one of the inputs."""
        return os.path.dirname(path) == self.inputs


def replace(path: str, text: str) -> None:
    """Writes a file's text anew: there is the old one or the new one, never a part."""
    # A link stays one.
    path = os.path.realpath(path)
    handle, written = tempfile.mkstemp(prefix=".onnx-bnnprune-", dir=os.path.dirname(path))
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        shutil.copymode(path, written)
        os.replace(written, path)
    except BaseException:
        os.remove(written)
        raise


def _made(parent: Optional[str]) -> str:
    """A new folder in ``parent``, or in the system's where that cannot be, as the command does."""
    prefix = "onnx-bnnprune-"
    if parent is not None:
        try:
            return tempfile.mkdtemp(prefix=prefix, dir=parent)
        except OSError as error:
            reason = f"cache_dir: {error}; temporary files go to {tempfile.gettempdir()}"
            # Of the function that the user calls.
            warnings.warn(reason, BnnpruneWarning, stacklevel=6)
    return tempfile.mkdtemp(prefix=prefix)


def _remove(folder: str, process: int) -> None:
    # A forked process shares the folder, and does not own it.
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
