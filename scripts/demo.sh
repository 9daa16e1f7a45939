#!/usr/bin/env bash
# Prunes a binary digits network and verifies the result in ONNX Runtime (fetched from PyPI).
# Further arguments go to onnx-bnnprune.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 scripts/setup_onnxruntime.py
export ORT_DYLIB_PATH="$PWD/.onnxruntime"
mkdir -p target
cargo run --release --quiet -- fixtures/digits_vgg.onnx target/digits_vgg_pruned.onnx \
    --data fixtures/digits_train.npz --val fixtures/digits_test.npz "$@"
