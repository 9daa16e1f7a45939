#!/usr/bin/env bash
# Builds the Python wheel, with the library of operators, manual pages and completions, and prints its path. It installs with pip where
# there is no Rust:
#   pip install target/wheels/onnx_bnnprune-*.whl
# Arguments are maturin's: --no-default-features leaves tract out, --out DIR names another folder.
set -euo pipefail
cd "$(dirname "$0")/.."
python="$(scripts/python_environment.sh wheel-venv scripts/wheel_requirements.txt)"
for argument in "$@"; do
    if [[ "$argument" = --target* ]]; then
        echo "$0: --target: the library of operators is built for this platform; see .github/workflows/release.yml" >&2
        exit 2
    fi
done
trap 'rm -f python/onnx_bnnprune/*onnx_bnnprune_ops.*' EXIT
scripts/operators/build.sh
wheel="$("$python" -m maturin build --release --locked "$@" 2>&1 | tee /dev/stderr | sed -n 's/.*Built wheel .* to //p')"
scripts/wheel_data.sh "$python" "$wheel"
echo "$wheel"
