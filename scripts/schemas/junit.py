#!/usr/bin/env python3
"""Validates what `check --junit` writes against the schema of Jenkins' xUnit plugin.

    scripts/schemas/junit.py [--binary TOOL]

The schema is the one that pytest tests its own files with; it is fetched with pip, in pytest's source
package. Needs xmlschema (scripts/requirements.txt). Exit code 1 if the file is not valid.
"""

import argparse
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import xmlschema

ROOT = Path(__file__).resolve().parents[2]
VERSION = "8.3.4"
SHA256 = "965370d062bce11e73868e0335abac31b4d3de0e82f4007408d242b4f8610761"
SCHEMA = f"pytest-{VERSION}/testing/example_scripts/junit-10.xsd"


def schema(folder):
    """The schema, from the package."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*pip, "--dest", folder, f"pytest=={VERSION}"], check=True)
    package = folder / f"pytest-{VERSION}.tar.gz"
    if hashlib.sha256(package.read_bytes()).hexdigest() != SHA256:
        sys.exit(f"{package.name}: is not the file that was expected")
    with tarfile.open(package) as archive:
        return xmlschema.XMLSchema(archive.extractfile(SCHEMA).read().decode())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT / "target" / "release" / "onnx-bnnprune"
    parser.add_argument("--binary", type=Path, default=default)
    binary = parser.parse_args().binary
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Good models, one with warnings, and two bad ones.
        (folder / "noise.onnx").write_bytes(b"<&>\x00 no model")
        (folder / "cut.onnx").write_bytes((ROOT / "fixtures/digits_vgg.onnx").read_bytes()[:9999])
        written = folder / "check.xml"
        paths = [ROOT / "fixtures", folder]
        command = [binary, "check", *paths, "--quiet", "--junit", written]
        done = subprocess.run(command, cwd=ROOT, capture_output=True)
        if done.returncode != 1:
            sys.exit(f"check ended with {done.returncode}, not with 1")
        errors = list(schema(folder).iter_errors(str(written)))
    for error in errors:
        print(f"{error.path}: {error.reason}")
    print("valid" if not errors else "not valid")
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
