#!/usr/bin/env bash
# Builds the Python wheel, with the library of operators, manual pages and completions, and prints its path. It installs with pip where
# there is no Rust:
#   pip install target/wheels/onnx_bnnprune-*.whl
# Arguments are maturin's: --no-default-features leaves tract out, --out DIR names another folder.
set -euo pipefail
cd "$(dirname "$0")/.."
python="$(scripts/python_environment.sh wheel-venv scripts/wheel_requirements.txt)"
scripts/operators/build.sh
wheel="$("$python" -m maturin build --release --locked "$@" 2>&1 | tee /dev/stderr | sed -n 's/.*Built wheel .* to //p')"
scripts/wheel_data.sh "$python" "$wheel"
echo "$wheel"
