#!/usr/bin/env bash
# Builds the extension module and runs the tests of the Python package, which take ONNX Runtime from PyPI.
# Arguments are maturin's, such as --no-default-features.
set -euo pipefail
cd "$(dirname "$0")/.."
python="$(scripts/python_environment.sh python-venv python/tests/requirements.txt)"
python="$(cd "$(dirname "$python")" && pwd)/$(basename "$python")"
export VIRTUAL_ENV="$(dirname "$(dirname "$python")")"
PIP_QUIET=1 "$python" -m maturin develop --release --quiet "$@"
# The library that comes with the package is found, not the one that Rust's tests were given.
unset ORT_DYLIB_PATH
command="${CARGO_TARGET_DIR:-target}/release/onnx-bnnprune"
if [ -x "$command" ]; then
    ONNX_BNNPRUNE_COMMAND="$(cd "$(dirname "$command")" && pwd)/onnx-bnnprune"
    export ONNX_BNNPRUNE_COMMAND
fi
exec "$python" -m pytest -q
