"""Type annotations: true to the command, and good enough for a type checker."""

import subprocess
import sys
import typing
from pathlib import Path

import pytest
from onnx_bnnprune import _native, _options, _sweep

ROOT = Path(__file__).resolve().parents[2]

# What a function gives in other ways than as options.
GIVEN = {"data", "val", "json", "quiet", "verbose", "log_file", "markdown"}
PARAMETERS = {"convert": {"to"}}


@pytest.mark.parametrize(
    "command, types",
    [
        (None, _options.Prune),
        ("train", _options.Train),
        ("compare", _options.Compare),
        ("eval", _options.Evaluate),
        ("verify", _options.Verify),
        ("check", _options.Check),
        ("convert", _options.Convert),
        ("inspect", _options.Inspect),
    ],
)
def test_options_are_those_of_the_command(command, types):
    names = {row[0].replace("-", "_") for row in _native.options(command)}
    given = GIVEN | PARAMETERS.get(command, set())
    assert set(typing.get_type_hints(types)) == names - given


@pytest.mark.parametrize("types", [_options.Elimination, _options.Application])
def test_options_of_parts_of_the_main_job_are_some_of_its_options(types):
    names = {row[0].replace("-", "_") for row in _native.options()}
    assert set(typing.get_type_hints(types)) < names


def test_options_of_sweeps_are_those_of_compare_but_for_what_a_sweep_decides():
    names = {row[0].replace("-", "_") for row in _native.options("compare")}
    assert set(typing.get_type_hints(_options.Sweep)) == names - _sweep._OWN
    assert _sweep._OWN < names


def mypy(*arguments):
    line = [sys.executable, "-m", "mypy", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT)


def test_the_package_is_typed():
    done = mypy()
    assert done.returncode == 0, done.stdout


def test_callers_are_checked(tmp_path):
    good = tmp_path / "good.py"
    good.write_text(
        "import onnx_bnnprune as bnn\n"
        "result = bnn.prune('a.onnx', 'images', ratio=0.5, mean=[0.5], resize=(32, 32))\n"
        "result.report.to_pandas()\n"
        "result.save('b.onnx')\n"
        "kept: dict[str, list[int]] = result.kept\n"
    )
    done = mypy("--strict", str(good))
    assert done.returncode == 0, done.stdout
    bad = tmp_path / "bad.py"
    bad.write_text(
        "import onnx_bnnprune as bnn\n"
        "bnn.prune('a.onnx', rato=0.5)\n"
        "bnn.prune('a.onnx', normalise='yes')\n"
        "bnn.prune(7)\n"
    )
    done = mypy("--strict", str(bad))
    for line in (2, 3, 4):
        assert f"bad.py:{line}: error" in done.stdout, done.stdout
