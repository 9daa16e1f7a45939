#!/usr/bin/env bash
# Builds the library of operators on bits and puts it into the Python package, for a wheel:
#   scripts/operators/build.sh [TARGET]
# TARGET is one of Rust's names of platforms, where it is not this one.
set -euo pipefail
cd "$(dirname "$0")/../.."
rm -f python/onnx_bnnprune/*onnx_bnnprune_ops.*
cargo build --release --locked -p bnn-ops ${1:+--target "$1"} >&2
for library in "${CARGO_TARGET_DIR:-target}/${1:+$1/}release"/{lib,}onnx_bnnprune_ops.{so,dylib,dll}; do
    if [ -f "$library" ]; then
        cp "$library" python/onnx_bnnprune/
        found=1
    fi
done
if [ -z "${found:-}" ]; then
    echo "$0: Cargo put the library into no folder that is known here" >&2
    exit 1
fi
