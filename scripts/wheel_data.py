#!/usr/bin/env python3
"""Adds manual pages and completions to a wheel, where installers put such files.

    scripts/wheel_data.py WHEEL COMMAND [ARGUMENT ...]

COMMAND (with its arguments) is the program that the wheel holds: it writes them. Needs the package `wheel`.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

# Where each shell looks, below the prefix of an installation.
COMPLETIONS = {
    "bash": "share/bash-completion/completions/onnx-bnnprune",
    "zsh": "share/zsh/site-functions/_onnx-bnnprune",
    "fish": "share/fish/vendor_completions.d/onnx-bnnprune.fish",
}


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    wheel, command = Path(sys.argv[1]).resolve(), sys.argv[2:]
    with tempfile.TemporaryDirectory() as folder:
        tool = [sys.executable, "-m", "wheel"]
        subprocess.run([*tool, "unpack", "-d", folder, wheel], check=True)
        (tree,) = Path(folder).iterdir()
        data = tree / f"{tree.name}.data" / "data"
        pages = data / "share/man/man1"
        pages.mkdir(parents=True)
        subprocess.run([*command, "man", pages], check=True, stdout=subprocess.DEVNULL)
        for shell, place in COMPLETIONS.items():
            text = subprocess.run([*command, "completions", shell], check=True, stdout=subprocess.PIPE).stdout
            (data / place).parent.mkdir(parents=True)
            (data / place).write_bytes(text)
        subprocess.run([*tool, "pack", "-d", wheel.parent, tree], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
