#!/usr/bin/env bash
# Runs all tests, those against ONNX Runtime (fetched from PyPI) included.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 scripts/setup_onnxruntime.py
export ORT_DYLIB_PATH="$PWD/.onnxruntime"
cargo test --release "$@"
