#!/usr/bin/env bash
# Runs all tests, those against ONNX Runtime (fetched from PyPI) included.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 scripts/setup_onnxruntime.py
cargo test --release "$@"
