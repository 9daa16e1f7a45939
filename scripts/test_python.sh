#!/usr/bin/env bash
# Runs the tests of the Python package, which take ONNX Runtime from PyPI. The extension module is the one that
# `cargo test` builds, so that it is not compiled anew with other features of what it depends on; wheels are made by
# scripts/wheel.sh. Arguments are those of pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
python="$(scripts/python_environment.sh python-venv python/tests/requirements.txt)"
# The features of Rust's tests, where these ran before; nothing is built anew then.
# shellcheck disable=SC2086
cargo test --quiet --workspace --bins --test extension_module ${CARGO_FEATURES:-} > /dev/null
# shellcheck disable=SC2086
cargo build --quiet --workspace --bins --example operators ${CARGO_FEATURES:-}
built="${CARGO_TARGET_DIR:-target}/debug"
for library in "$built"/deps/{lib,}_native.{so,dylib,dll}; do
    if [ -f "$library" ]; then
        case "$library" in
            *.dll) module=_native.pyd ;;
            *) module=_native.abi3.so ;;
        esac
        # Under another name first: a process may have the old one loaded.
        cp "$library" "python/onnx_bnnprune/.$module.new"
        mv "python/onnx_bnnprune/.$module.new" "python/onnx_bnnprune/$module"
    fi
done
# The library of operators, which Rust's tests need as well, and so build beside themselves.
for library in "$(cd "$built" && pwd)"/deps/{lib,}onnx_bnnprune_ops.{so,dylib,dll}; do
    if [ -f "$library" ]; then export ONNX_BNNPRUNE_OPS="$library"; fi
done
# The package is imported from the clone, also where Python is told not to heed PYTHONPATH.
"$python" - "$PWD/python" << 'PYTHON'
import pathlib, sys, sysconfig
pathlib.Path(sysconfig.get_paths()["purelib"], "onnx_bnnprune.pth").write_text(sys.argv[1] + "\n")
PYTHON
# The library that comes with the package is found, not the one that Rust's tests were given.
unset ORT_DYLIB_PATH
command="$built/onnx-bnnprune"
if [ -x "$command" ]; then
    ONNX_BNNPRUNE_COMMAND="$(cd "$(dirname "$command")" && pwd)/onnx-bnnprune"
    export ONNX_BNNPRUNE_COMMAND
fi
ONNX_BNNPRUNE_EXAMPLES="$(cd "$built/examples" && pwd)"
export ONNX_BNNPRUNE_EXAMPLES
# A test a processor: networks of tests are too small for several threads to share.
exec "$python" -m pytest -q --numprocesses=auto --dist=worksteal "$@"
