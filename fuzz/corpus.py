#!/usr/bin/env python3
"""Makes the seed corpus of the fuzz targets from the fixtures, in fuzz/corpus/.

Needs Python 3 alone. The same fixtures give the same corpus.
"""

import hashlib
import io
import json
import pathlib
import shutil
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = HERE.parent / "fixtures"
# Layers of digits_float.onnx and their filters (fixtures/README.md).
LAYERS = {"/conv1/Conv": 8, "/conv2/Conv": 12, "/classifier/Gemm": 10}


def folder(target):
    path = HERE / "corpus" / target
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path


def npy(descr, shape, data):
    """A numpy array file."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    header = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


def npz(arrays, compression):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in arrays.items():
            archive.writestr(zipfile.ZipInfo(name + ".npy"), data, compression)
    return buffer.getvalue()


def main():
    load, recognise = folder("load"), folder("recognise")
    for path in sorted((FIXTURES / "dialects").glob("*.onnx")):
        for target in (load, recognise):
            shutil.copyfile(path, target / path.name)
    shutil.copyfile(FIXTURES / "digits_float.onnx", load / "digits_float.onnx")

    masks = folder("masks")
    cases = [
        {},
        {name: (n, [0]) for name, n in LAYERS.items()},
        {name: (n, list(range(1, n))) for name, n in LAYERS.items()},
        {name: (n, list(range(n))) for name, n in LAYERS.items()},
        {"/conv1/Conv": (8, [9]), "nowhere": (3, [1])},
        {"/conv1/Conv": (8, [2, 2])},
    ]
    for number, case in enumerate(cases):
        layers = {name: {"filters": n, "pruned": p} for name, (n, p) in case.items()}
        file = {"format": "onnx-bnnprune-masks/1", "layers": layers}
        (masks / f"{number}.json").write_text(json.dumps(file))

    archives = folder("npz")
    pixels = bytes(i * 37 % 251 for i in range(4 * 8 * 8 * 3))
    labels = npy("<i8", (4,), b"".join(i.to_bytes(8, "little") for i in range(4)))
    cases = [
        {"x": npy("|u1", (4, 8, 8), pixels[:256]), "y": labels},
        {"x": npy("|u1", (4, 3, 8, 8), pixels), "y": labels},
        {"x": npy("|u1", (4, 8, 8, 3), pixels)},
        {"x": npy("<f4", (4, 1, 4, 4), bytes(256)), "y": npy("|u1", (4, 1), bytes(4))},
        {"x": npy(">f8", (2, 4, 4), bytes(256))},
        {"x": npy("|u1", (1 << 40, 1 << 40), b"")},
    ]
    for number, case in enumerate(cases):
        for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            (archives / f"{number}.{compression}.npz").write_bytes(npz(case, compression))

    # Structured input is read from both ends of any bytes: varied ones of several lengths.
    eliminate = folder("eliminate")
    for number in range(64):
        stream = hashlib.shake_256(number.to_bytes(4, "little")).digest(16 + 8 * number)
        (eliminate / f"{number}.bin").write_bytes(stream)


if __name__ == "__main__":
    main()
