"""The examples: the notebook runs; what needs PyTorch at least compiles and calls what there is."""

import ast
import compileall
import shutil
from pathlib import Path

import pytest
from conftest import QUICKLY

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "python"


def test_the_notebook_runs(tmp_path):
    import nbformat
    from nbclient import NotebookClient

    (tmp_path / "fixtures").mkdir()
    for file in (EXAMPLES.parents[1] / "fixtures").glob("digits_*.*"):
        shutil.copy(file, tmp_path / "fixtures")
    notebook = nbformat.read(EXAMPLES / "pruning.ipynb", as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(QUICKLY))
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    texts = [str(output) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("verification passed" in text for text in texts)
    assert (tmp_path / "digits_pruned.onnx").exists()


@pytest.mark.parametrize("name", ["prune_pytorch", "brevitas_to_finn"])
def test_examples_compile_and_call_what_exists(name):
    import onnx_bnnprune

    path = EXAMPLES / f"{name}.py"
    assert compileall.compile_file(path, quiet=1, force=True)
    calls = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "onnx_bnnprune"
    ]
    assert calls
    for call in calls:
        assert hasattr(onnx_bnnprune, call.attr), call.attr
