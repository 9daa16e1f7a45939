#!/usr/bin/env python3
"""Puts ONNX Runtime's shared library into .onnxruntime/ of this repository.

    python3 scripts/setup_onnxruntime.py

Takes it from the wheel `onnxruntime` on PyPI, with pip, for this machine's platform: no
compiler, no other Python package, nothing outside the folder is changed. Does nothing where
the right version is already there. Exits with 1 and one line if it cannot be had.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

VERSION = "1.32.0"
FOLDER = Path(__file__).resolve().parents[1] / ".onnxruntime"

# By sys.platform: the library's name in the wheel (a version may follow it) and in our folder.
LIBRARIES = {
    "linux": ("libonnxruntime.so", "libonnxruntime.so"),
    "darwin": ("libonnxruntime.", "libonnxruntime.dylib"),
    "win32": ("onnxruntime.dll", "onnxruntime.dll"),
}


class SetupError(Exception):
    """Why the library could not be set up, in one line."""


def main() -> int:
    """Sets the library up; returns the exit code."""
    folder = parse_arguments().folder
    try:
        library = set_up(folder)
    except (SetupError, OSError, zipfile.BadZipFile) as error:
        print(f"setup_onnxruntime: {error}", file=sys.stderr)
        return 1
    print(f"ONNX Runtime {VERSION}: {library}")
    return 0


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=f"Fetches ONNX Runtime {VERSION}'s shared library with pip."
    )
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help="where to put it (default: %(default)s)"
    )
    return parser.parse_args()


def set_up(folder: Path) -> Path:
    """Makes sure that the library is in `folder`; returns its path."""
    if sys.platform not in LIBRARIES:
        raise SetupError(f"no ONNX Runtime wheel is known for the platform {sys.platform}")
    prefix, name = LIBRARIES[sys.platform]
    library, version_file = folder / name, folder / "VERSION"
    if library.is_file() and version_file.is_file() and version_file.read_text().strip() == VERSION:
        return library
    folder.mkdir(parents=True, exist_ok=True)
    # The temporary folder lies beside the target, so that the library can be renamed into place.
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        wheel = download(Path(temporary))
        extracted = extract(wheel, prefix, Path(temporary) / name)
        version_file.unlink(missing_ok=True)
        os.replace(extracted, library)
    version_file.write_text(f"{VERSION}\n")
    return library


def download(folder: Path) -> Path:
    """Downloads the wheel for this machine into `folder`."""
    requirement = f"onnxruntime=={VERSION}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--dest", str(folder), requirement]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode != 0:
        raise SetupError(f"pip cannot download {requirement}: {reason(result.stdout)}")
    wheels = list(folder.glob("onnxruntime-*.whl"))
    if len(wheels) != 1:
        raise SetupError(f"pip reported success but left no wheel of {requirement}")
    return wheels[0]


def reason(output: str) -> str:
    """The line of pip's output that says most about a failure."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    version = ".".join(map(str, sys.version_info[:2]))
    return (errors or lines or ["no message"])[-1] + f" (Python {version} on {sys.platform})"


def extract(wheel: Path, prefix: str, target: Path) -> Path:
    """Copies the wheel's ONNX Runtime library to `target`, checking its checksum."""
    with zipfile.ZipFile(wheel) as archive:
        members = [member for member in archive.namelist() if is_library(member, prefix)]
        if len(members) != 1:
            raise SetupError(
                f"{wheel.name} holds {len(members)} files onnxruntime/capi/{prefix}*, expected 1"
            )
        target.write_bytes(archive.read(members[0]))
    return target


def is_library(member: str, prefix: str) -> bool:
    """Whether a file of the wheel is the library, and not one of its provider plug-ins."""
    path = PurePosixPath(member)
    return str(path.parent) == "onnxruntime/capi" and path.name.startswith(prefix)


if __name__ == "__main__":
    sys.exit(main())
