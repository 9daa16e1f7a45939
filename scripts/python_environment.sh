#!/usr/bin/env bash
# Makes a virtual environment in the target folder with the Python packages that a requirements file
# names, and prints its interpreter's path:   scripts/python_environment.sh NAME REQUIREMENTS
set -euo pipefail
cd "$(dirname "$0")/.."
environment="${CARGO_TARGET_DIR:-target}/$1"
if ! python3 -c 'import ensurepip, venv' 2> /dev/null; then
    echo "$0: python3 that can make virtual environments is needed (python3 -m venv); Debian and Ubuntu: apt install python3-venv" >&2
    exit 1
fi
python="$environment/bin/python"
[ "${OS:-}" = Windows_NT ] && python="$environment/Scripts/python.exe"
# Anew where the requirements or Python itself have changed.
state="$(cat "$2"; python3 --version)"
if [ ! -x "$python" ] || [ "$(cat "$environment/state" 2> /dev/null)" != "$state" ]; then
    rm -rf "$environment"
    python3 -m venv "$environment" >&2
    "$python" -m pip install --quiet --disable-pip-version-check -r "$2" >&2
    printf '%s\n' "$state" > "$environment/state"
fi
echo "$python"
