"""How this package runs models in processes of their own, and where ONNX Runtime's library is."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Optional

from . import _native

# Loads the extension module alone, by its path: neither the folder that the worker is in nor any
# setting of the user's decides what it imports.
_WORKER = """
import importlib.machinery, importlib.util, sys
loader = importlib.machinery.ExtensionFileLoader("_native", sys.argv[1])
spec = importlib.util.spec_from_loader("_native", loader)
native = importlib.util.module_from_spec(spec)
loader.exec_module(native)
sys.exit(native.main(["onnx-bnnprune", *sys.argv[2:]], (None, None)))
"""


def around() -> tuple[Optional[tuple[str, list[str]]], Optional[str]]:
    """The worker's command, and the folder of ONNX Runtime's library."""
    worker = None
    if sys.executable and _native.__file__:
        native = os.path.abspath(_native.__file__)
        worker = (os.path.abspath(sys.executable), ["-I", "-S", "-c", _WORKER, native])
    return worker, _onnxruntime()


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
