#!/usr/bin/env bash
# Builds the Python wheel and prints its path. It installs with pip where there is no Rust:
#   pip install target/wheels/onnx_bnnprune-*.whl
# Arguments are maturin's: --no-default-features leaves tract out, --out DIR names another folder.
set -euo pipefail
cd "$(dirname "$0")/.."
python="$(scripts/python_environment.sh wheel-venv scripts/wheel_requirements.txt)"
"$python" -m maturin build --release --locked "$@"
