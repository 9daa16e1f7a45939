#!/usr/bin/env bash
# Adds manual pages and completions to a wheel, which its own command writes:   scripts/wheel_data.sh PYTHON WHEEL
# PYTHON has pip and the package `wheel`, and can run what is in the wheel.
set -euo pipefail
cd "$(dirname "$0")/.."
tree="$(mktemp -d)"
trap 'rm -rf "$tree"' EXIT
"$1" -m pip install --quiet --disable-pip-version-check --no-deps --target "$tree" "$2"
# The extension module alone: the package needs others.
export PYTHONPATH="$tree/onnx_bnnprune"
command='import sys, _native; sys.exit(_native.main(["onnx-bnnprune", *sys.argv[1:]], (None, None, None)))'
"$1" scripts/wheel_data.py "$2" "$1" -c "$command"
