"""How this package runs models in processes of their own, and where the libraries are that it loads."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Optional

from . import _native
from ._errors import RuntimeMissingError

# Loads the extension module alone, by its path: neither the folder that the worker is in nor any
# setting of the user's decides what it imports.
_WORKER = """
import importlib.machinery, importlib.util, sys
loader = importlib.machinery.ExtensionFileLoader("_native", sys.argv[1])
spec = importlib.util.spec_from_loader("_native", loader)
native = importlib.util.module_from_spec(spec)
loader.exec_module(native)
sys.exit(native.main(["onnx-bnnprune", *sys.argv[2:]], (None, None, None)))
"""


_OPERATORS = {
    "darwin": "libonnx_bnnprune_ops.dylib",
    "win32": "onnx_bnnprune_ops.dll",
}.get(sys.platform, "libonnx_bnnprune_ops.so")


def ops_library() -> str:
    """The path of the library with the operators on bits, for models in the form ``ops``.

        options = onnxruntime.SessionOptions()
        options.register_custom_ops_library(onnx_bnnprune.ops_library())

    It comes with the wheel; ``ONNX_BNNPRUNE_OPS`` names another. Raises ``RuntimeMissingError`` where there is none.
    """
    named = os.environ.get("ONNX_BNNPRUNE_OPS")
    path = os.path.abspath(named) if named else _operators()
    if path is None or not os.path.isfile(path):
        raise RuntimeMissingError(
            f"{path or _OPERATORS}: there is no such library; build it with `cargo build --release -p bnn-ops` in a "
            "clone, and name it with the environment variable ONNX_BNNPRUNE_OPS"
        )
    return path


def around() -> tuple[Optional[tuple[str, list[str]]], Optional[str], Optional[str]]:
    """The worker's command, the folder of ONNX Runtime's library, and the library of operators."""
    worker = None
    if sys.executable and _native.__file__:
        native = os.path.abspath(_native.__file__)
        worker = (os.path.abspath(sys.executable), ["-I", "-S", "-c", _WORKER, native])
    return worker, _onnxruntime(), _operators()


def _operators() -> Optional[str]:
    """The library of operators that came with the package."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), _OPERATORS)
    return path if os.path.isfile(path) else None


def _onnxruntime() -> Optional[str]:
    """The folder of the installed ``onnxruntime``'s libraries, found without importing it."""
    try:
        spec = importlib.util.find_spec("onnxruntime")
    except (ImportError, ValueError):
        return None
    for folder in (spec and spec.submodule_search_locations) or ():
        libraries = os.path.join(os.path.abspath(folder), "capi")
        if os.path.isdir(libraries):
            return libraries
    return None
