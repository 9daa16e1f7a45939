#!/usr/bin/env bash
# Runs all tests: of all crates, those against ONNX Runtime (fetched from PyPI) and in several processes of Open MPI
# (from Debian's packages) included, and of the Python package. Memory that is used again is poisoned, so that what is
# read without having been written is found.
# Arguments are those of `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."
# What the last tests need: without it, they fail before the first ones.
scripts/python_environment.sh python-venv python/tests/requirements.txt > /dev/null
features="$(scripts/setup_mpi.sh)"
python3 scripts/setup_onnxruntime.py
export ORT_DYLIB_PATH="$PWD/.onnxruntime"
export BNN_KERNELS_POISON=1
# Built once, not again and again: in fewer and larger parts.
export CARGO_INCREMENTAL="${CARGO_INCREMENTAL:-0}"
# shellcheck disable=SC2086
cargo test --workspace $features "$@"
for argument in "$@"; do
    case "$argument" in --no-default-features | --features=* | --all-features) features+=" $argument" ;; esac
done
CARGO_FEATURES="$features" scripts/test_python.sh
