"""What the tests share: fixtures of the repository, quick options, the command."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"

# Enough to prune something, in a second.
QUICK = {
    "ratio": 0.2,
    "mask_epochs": 1,
    "main_epochs": 0,
    "final_epochs": 1,
    "max_drop": "none",
    "seed": 3,
}


# Python in front of code that learns with defaults, for a minute: with these it takes seconds.
QUICKLY = (
    "import onnx_bnnprune as b; p = b.prune; b.prune = lambda *a, **k: p(*a, **{**k, "
    "'mask_epochs': 2, 'main_epochs': 1, 'final_epochs': 5, 'max_drop': 'none'})"
)


@pytest.fixture(scope="session")
def vgg():
    return str(FIXTURES / "digits_vgg.onnx")


@pytest.fixture(scope="session")
def train_path():
    return str(FIXTURES / "digits_train.npz")


@pytest.fixture(scope="session")
def test_path():
    return str(FIXTURES / "digits_test.npz")


@pytest.fixture(scope="session")
def digits(train_path):
    """Images [N, 1, 8, 8] in bytes, and labels."""
    with np.load(train_path) as archive:
        return archive["x"], archive["y"]


@pytest.fixture(scope="session")
def library():
    """The library of operators, which Rust's tests build."""
    named = os.environ.get("ONNX_BNNPRUNE_OPS")
    assert named, "scripts/test_python.sh builds the library of operators and names it: run that"
    return named


@pytest.fixture(scope="session")
def command():
    """Runs the command: the program that ``ONNX_BNNPRUNE_COMMAND`` names, else the package's."""
    program = os.environ.get("ONNX_BNNPRUNE_COMMAND")
    line = [program] if program else [sys.executable, "-m", "onnx_bnnprune"]
    environment = dict(os.environ)
    if program:
        # The same library as the package's.
        (folder,) = importlib.util.find_spec("onnxruntime").submodule_search_locations
        environment["ORT_DYLIB_PATH"] = os.path.join(folder, "capi")

    def run(*arguments, code=0, **options):
        done = subprocess.run(
            [*line, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            env=environment,
            **options,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


def as_arguments(options):
    """Options as the command takes them."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
