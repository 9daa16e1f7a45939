"""Prunes binary neural networks (weights and activations ±1) in ONNX, and proves the result.

    import onnx_bnnprune
    result = onnx_bnnprune.prune("in.onnx", "images/", max_drop=1.0)
    result.save("out.onnx")

Every function runs a command of ``onnx-bnnprune`` in this process, with Python's lock released, and
takes that command's options by their names with underscores.
"""

from ._api import (
    apply_masks,
    check,
    compare,
    convert,
    eliminate,
    evaluate,
    inspect,
    prune,
    train,
    verify,
)
from ._errors import (
    BnnpruneError,
    BnnpruneWarning,
    BudgetExceeded,
    CheckpointError,
    DataError,
    InternalError,
    MasksError,
    ModelError,
    OutputError,
    RuntimeMissingError,
    UsageError,
    VerificationFailed,
)
from ._installation import ops_library
from ._native import __version__
from ._results import ModelResult, PruneResult, Report, TrainResult
from ._sweep import SweepResult, sweep

__all__ = [
    "BnnpruneError",
    "BnnpruneWarning",
    "BudgetExceeded",
    "CheckpointError",
    "DataError",
    "InternalError",
    "MasksError",
    "ModelError",
    "ModelResult",
    "OutputError",
    "PruneResult",
    "Report",
    "RuntimeMissingError",
    "SweepResult",
    "TrainResult",
    "UsageError",
    "VerificationFailed",
    "__version__",
    "apply_masks",
    "check",
    "compare",
    "convert",
    "eliminate",
    "evaluate",
    "inspect",
    "ops_library",
    "prune",
    "sweep",
    "train",
    "verify",
]
