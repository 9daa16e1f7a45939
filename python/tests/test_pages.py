"""The pages in ``docs/`` and the README: what stands there in Python runs."""

import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import onnx_bnnprune as bnn
import pytest
from conftest import QUICKLY

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "fixtures"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]
WITH_TORCH = [page for page in PAGES if blocks(page, "python,torch")]


def test_pages_have_python():
    assert {page.name for page in WITH_PYTHON} >= {"README.md", "start.md", "deployment.md"}
    assert {page.name for page in WITH_TORCH} >= {"pytorch.md"}


def write_folders(archive, folder):
    """Gray images as PNG files, a folder for each class."""
    with np.load(archive) as arrays:
        pairs = zip(arrays["x"].squeeze(1), arrays["y"])
    for number, (image, label) in enumerate(pairs):
        height, width = image.shape
        lines = b"".join(b"\0" + line.tobytes() for line in image)
        parts = (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
            (b"IDAT", zlib.compress(lines)),
            (b"IEND", b""),
        )
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        with open(folder / str(label) / f"{number:04}.png", "wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n")
            for kind, content in parts:
                file.write(struct.pack(">I", len(content)) + kind + content)
                file.write(struct.pack(">I", zlib.crc32(kind + content)))


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.stem)
def test_python_on_the_page_runs(page, tmp_path, request):
    text = "\n".join(blocks(page, "python"))
    # What stands for files of the reader's own.
    (tmp_path / "fixtures").symlink_to(FIXTURES)
    (tmp_path / "in.onnx").symlink_to(FIXTURES / "digits_vgg.onnx")
    if '"images/"' in text:
        write_folders(FIXTURES / "digits_train.npz", tmp_path / "images")
    own = [QUICKLY, f"import numpy as np\nbatch = np.load({str(FIXTURES / 'digits_test.npz')!r})['x'][:4].astype(np.float32)"]
    if "net.packed.onnx" in text:
        bnn.convert(FIXTURES / "digits_vgg.onnx", "packed").save(tmp_path / "net.packed.onnx")
        own.append("batch = batch.reshape(4, 1, 8, 8)")
    if "net.ops.onnx" in text:
        bnn.convert(FIXTURES / "digits_vgg.onnx", "ops", ops_library=request.getfixturevalue("library")).save(tmp_path / "net.ops.onnx")
    script = tmp_path / "page.py"
    script.write_text("\n".join([*own, text]), "utf-8")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("page", WITH_TORCH, ids=lambda page: page.stem)
def test_what_needs_pytorch_is_python_and_calls_what_there_is(page):
    text = "\n".join(blocks(page, "python,torch"))
    compile(text, page.name, "exec")
    called = re.findall(r"onnx_bnnprune\.(\w+)\(", text)
    assert all(hasattr(bnn, name) for name in called), called
