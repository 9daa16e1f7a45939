#!/usr/bin/env bash
# Runs all tests of all crates, those against ONNX Runtime (fetched from PyPI) included. Memory that is used
# again is poisoned, so that what is read without having been written is found.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 scripts/setup_onnxruntime.py
export ORT_DYLIB_PATH="$PWD/.onnxruntime"
export BNN_KERNELS_POISON=1
cargo test --release --workspace "$@"
