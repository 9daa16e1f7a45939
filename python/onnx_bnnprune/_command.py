"""The command ``onnx-bnnprune``."""

from __future__ import annotations

import sys

from . import _native
from ._installation import around


def main() -> int:
    """Runs the command line; returns the exit code."""
    return _native.main(["onnx-bnnprune", *sys.argv[1:]], around())
