"""Models as the user has them, and as files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, BinaryIO, Union

from ._errors import ModelError

if TYPE_CHECKING:
    from onnx import ModelProto

    Model = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, ModelProto]

# One protobuf message holds less than 2 GiB; some of that is for what is not weights.
MOST_INLINE = (1 << 31) - (1 << 26)
# Weights from this size on go into a file of their own where the whole is larger than that.
_SMALLEST_APART = 1 << 10


def file_of(model: Model, folder: str, name: str) -> str:
    """The path of ``model``, which is written into ``folder`` unless it is a file already."""
    if isinstance(model, (str, os.PathLike)):
        return os.fspath(model)
    path = os.path.join(folder, f"{name}.onnx")
    if isinstance(model, (bytes, bytearray, memoryview)):
        with open(path, "wb") as file:
            file.write(model)
    elif hasattr(model, "SerializeToString") and hasattr(model, "graph"):
        _write(model, path)
    else:
        raise TypeError(
            f"a model is a path, bytes or an onnx.ModelProto, not {type(model).__name__}"
        )
    return path


def _write(model: Any, path: str) -> None:
    """Writes a ``ModelProto``, with large weights beside it where one message cannot hold them."""
    for tensor in model.graph.initializer:
        if tensor.data_location == tensor.EXTERNAL:
            raise ModelError(
                f"tensor '{tensor.name}' of the ModelProto lies in a file that is not loaded; "
                "give the model's path, or load it with onnx.load(path)"
            )
    weights = sum(tensor.ByteSize() for tensor in model.graph.initializer)
    if weights <= MOST_INLINE:
        with open(path, "wb") as file:
            file.write(model.SerializeToString())
        return
    with open(path + ".data", "wb") as data:
        shell = _without_weights(model, data, os.path.basename(path) + ".data")
    with open(path, "wb") as file:
        file.write(shell.SerializeToString())


def _without_weights(model: Any, data: BinaryIO, location: str) -> Any:
    """A copy of ``model`` whose large weights are in ``data``; never a second copy of all of these."""
    shell = type(model)()
    _copy(model, shell, leave="graph")
    _copy(model.graph, shell.graph, leave="initializer")
    for tensor in model.graph.initializer:
        copied = shell.graph.initializer.add()
        # A copy of it, each time it is asked for.
        weights = tensor.raw_data
        if len(weights) < _SMALLEST_APART:
            copied.CopyFrom(tensor)
            continue
        place = {"location": location, "offset": data.tell(), "length": len(weights)}
        data.write(weights)
        del weights
        _copy(tensor, copied, leave="raw_data")
        copied.data_location = copied.EXTERNAL
        for key, value in place.items():
            copied.external_data.add(key=key, value=str(value))
    return shell


def _copy(source: Any, target: Any, leave: str) -> None:
    """Copies all fields of a message but one."""
    for field, value in source.ListFields():
        if field.name == leave:
            continue
        if hasattr(value, "CopyFrom"):
            getattr(target, field.name).CopyFrom(value)
        elif hasattr(value, "extend"):
            getattr(target, field.name).extend(value)
        else:
            setattr(target, field.name, value)


def load(path: str) -> ModelProto:
    """The model of a file."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            "a model as onnx.ModelProto needs the package onnx: pip install onnx"
        ) from error
    return onnx.load(path)
