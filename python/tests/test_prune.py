"""``prune``, ``eliminate``, ``apply_masks``: what they return, and that it is what the command gives."""

import html
import json
import logging
import os
from html.parser import HTMLParser

import numpy as np
import onnx
import onnx_bnnprune as bnn
import pytest
from conftest import FIXTURES, QUICK, as_arguments
from onnx_bnnprune import _progress


@pytest.fixture(scope="module")
def by_command(command, vgg, train_path, tmp_path_factory):
    """Bytes of model and masks from the command, with quick options."""
    folder = tmp_path_factory.mktemp("command")
    out, masks = folder / "out.onnx", folder / "masks.json"
    options = [*as_arguments(QUICK), "--quiet", f"--save-masks={masks}"]
    command(vgg, out, "--data", train_path, *options)
    return out.read_bytes(), json.loads(masks.read_text())


@pytest.fixture(scope="module")
def pruned(vgg, train_path):
    return bnn.prune(vgg, train_path, **QUICK)


def run_in_ort(model, x):
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x.astype("float32") / 255})[0]


def test_the_same_options_give_the_commands_bytes(pruned, by_command):
    assert (pruned.to_bytes(), pruned.masks) == by_command


@pytest.mark.parametrize("form", ["bytes", "proto", "array", "lists", "labels", "batches", "rows", "dicts"])
def test_it_does_not_matter_in_which_form_model_and_images_come(
    form, vgg, train_path, digits, by_command
):
    x, y = digits
    model, data, labels = vgg, train_path, None
    if form == "bytes":
        model = open(vgg, "rb").read()
    elif form == "proto":
        model = onnx.load(vgg)
    elif form == "array":
        data = (x, y)
    elif form == "lists":
        data = (list(x), [int(label) for label in y])
    elif form == "labels":
        data, labels = x, y
    elif form == "batches":
        data = Loader(x, y)
    elif form == "rows":
        data = list(zip(x, map(int, y)))
    elif form == "dicts":
        data = [{"image": x[i : i + 100], "label": y[i : i + 100]} for i in range(0, len(x), 100)]
    result = bnn.prune(model, data, labels=labels, **QUICK)
    assert (result.to_bytes(), result.masks) == by_command
    assert "onnx-bnnprune-" not in json.dumps({**result.report, "masks": None})


@pytest.mark.parametrize("sizes", [(448, 1), (446, 3), (447, 2)])
def test_batches_without_labels_may_be_of_any_size(vgg, digits, sizes):
    x = digits[0][: sum(sizes), 0]
    first, last = x[: sizes[0]], x[sizes[0] :]
    found = bnn.eliminate(vgg, [first, last]).report
    assert found["verification"] == bnn.eliminate(vgg, x).report["verification"]


class Tensor:
    """What a PyTorch tensor is to numpy."""

    def __init__(self, array):
        self._array = array

    def detach(self):
        return self

    def cpu(self):
        return self

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self._array, dtype=dtype)


class ShortTensor(Tensor):
    """One of bfloat16, which numpy has not."""

    dtype = "torch.bfloat16"

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Got unsupported ScalarType BFloat16")

    def float(self):
        return Tensor(self._array.astype("float32"))


class Loader:
    """What a PyTorch ``DataLoader`` is: re-iterable batches of tensors."""

    def __init__(self, x, y, batch=128):
        self.x, self.y, self.batch = x, y, batch

    def __len__(self):
        return -(-len(self.x) // self.batch)

    def __iter__(self):
        for start in range(0, len(self.x), self.batch):
            end = start + self.batch
            yield Tensor(self.x[start:end]), Tensor(self.y[start:end])


def test_floats_are_the_models_input_as_they_are(vgg, digits):
    x, y = digits
    x = (x / 255).astype("float32")
    normal = bnn.evaluate(vgg, (x, y), runs=1)
    assert normal["accuracy"] > 0.98
    # PyTorch gives doubles and halves too.
    assert bnn.evaluate(vgg, Loader(x.astype("float64"), y), runs=1)["accuracy"] > 0.98
    assert bnn.evaluate(vgg, Loader(x.astype("float16"), y), runs=1)["accuracy"] > 0.98
    assert bnn.evaluate(vgg, [(ShortTensor(x), y)], runs=1)["accuracy"] > 0.98
    # Labels as a list, beside an array.
    assert bnn.evaluate(vgg, (x, y.tolist()), runs=1)["accuracy"] > 0.98


def test_a_result_is_a_model_a_report_masks_and_a_table(pruned, vgg, digits, tmp_path):
    assert isinstance(pruned.model, onnx.ModelProto)
    onnx.checker.check_model(pruned.model)
    assert isinstance(pruned.report, dict)
    assert pruned.report["verification"]["passed"]
    totals = pruned.report["totals"]
    assert 0.15 < totals["pruned_ratio"] < 0.25
    table = pruned.report.to_pandas()
    assert list(table["name"])[1:4] == ["/conv1/Conv", "/conv2/Conv", "/conv3/Conv"]
    assert table["kept"][table["binary"]].sum() == totals["kept"]

    # What is kept is what a framework would keep.
    weights = {i.name: i for i in onnx.load(vgg).graph.initializer}
    kept = pruned.kept
    for name, gone in pruned.masks["layers"].items():
        assert sorted({*kept[name], *gone["pruned"]}) == list(range(gone["filters"]))
    assert weights

    path = tmp_path / "saved.onnx"
    pruned.save(path)
    assert path.read_bytes() == pruned.to_bytes()
    x, y = digits
    accuracy = (run_in_ort(str(path), x).argmax(1) == y).mean()
    assert accuracy > 0.9

    shown = pruned._repr_html_()
    assert "verification passed in ONNX Runtime" in shown
    assert html.unescape(shown.split('srcdoc="')[1].split('"')[0]) == pruned.report.html


def test_text_in_html_is_escaped(vgg, tmp_path):
    model = onnx.load(vgg)
    for node in model.graph.node:
        if node.name == "/conv2/Conv":
            node.name = "<script>alert(1)</script>"
    result = bnn.eliminate(model)
    for shown in (result._repr_html_(), result.report._repr_html_(), result.report.html):
        assert "<script>" not in shown
    assert "<script>alert(1)</script>" in html.unescape(result.report.html)
    result.report.html = None
    assert "&lt;script&gt;" in result.report._repr_html_()
    assert "<script>" not in result.report._repr_html_()


def test_a_page_is_whole_and_names_no_file_of_the_call(vgg, tmp_path):
    page = tmp_path / "page.html"
    with open(vgg, "rb") as file:
        result = bnn.eliminate(file.read(), html=page)
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert result.report.html.rstrip().endswith("</html>")
    own = os.path.basename(result._workspace.folder)
    assert own not in result.report.html
    assert f"onnx-bnnprune --html={page} -- model model.onnx" in result.report.html
    tags = set()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, _: tags.add(tag)
    parser.feed(result.report.html)
    assert {"main", "table", "img", "h1"} <= tags and "script" not in tags


def test_masks_come_back_as_they_went(pruned, vgg, by_command):
    masks = pruned.masks
    # Without learning, the filters alone decide.
    first = bnn.apply_masks(vgg, masks)
    by_layer = {name: layer["pruned"] for name, layer in masks["layers"].items()}
    second = bnn.apply_masks(vgg, by_layer)
    assert first.to_bytes() == second.to_bytes()
    assert first.masks == masks
    assert first.kept == pruned.kept
    assert first.report["accuracy"] is None


def test_eliminate_takes_only_what_cannot_matter(vgg, command, tmp_path, digits, test_path):
    masks = {"/conv2/Conv": [3, 5, 8]}
    masked = tmp_path / "masked.onnx"
    bnn.apply_masks(vgg, masks, save_masked=masked)
    result = bnn.eliminate(masked, test_path)
    assert len(result.kept["/conv2/Conv"]) == 45
    assert result.masks is None
    assert result.report["accuracy"]["before"] == result.report["accuracy"]["after"]
    out = tmp_path / "out.onnx"
    command(masked, out, "--quiet", "--data", test_path, "--method", "none")
    assert result.to_bytes() == out.read_bytes()


def test_output_goes_where_it_is_told(vgg, tmp_path):
    out, report = tmp_path / "out.onnx", tmp_path / "report.json"
    result = bnn.eliminate(vgg, output=out, report=report)
    assert result.path == str(out)
    # What another exporter left there says nothing.
    (tmp_path / "out.onnx.data").touch()
    assert out.read_bytes() == result.to_bytes()
    assert json.loads(report.read_text()) == result.report
    assert "onnx-bnnprune-" not in report.read_text()
    # A model of the result's own goes with it.
    result = bnn.eliminate(vgg)
    path = result.path
    assert open(path, "rb").read() == out.read_bytes()
    del result
    with pytest.raises(FileNotFoundError):
        open(path, "rb")


def test_a_dry_run_has_a_plan_and_no_model(vgg, train_path):
    result = bnn.prune(vgg, train_path, dry_run=True)
    assert result.report["plan"]["learning"]
    with pytest.raises(bnn.BnnpruneError, match="dry run"):
        result.model


def test_progress(vgg, train_path):
    seen = []
    bnn.prune(vgg, train_path, progress=lambda *step: seen.append(step), **QUICK)
    learning = [step for step in seen if step[0] == "learning"]
    done = [steps for _, steps, _, _ in learning]
    assert done == sorted(done) and done[-1] > 10
    assert all(steps <= total for _, steps, total, _ in seen)
    assert any(detail for *_, detail in learning)


def test_notes_are_logged(caplog):
    with caplog.at_level(logging.INFO, "onnx_bnnprune"):
        _progress.Listener(False)([{"kind": "note", "text": "so far", "steps": 0}])
    assert caplog.messages == ["so far"]


def test_warnings_are_pythons(vgg, digits):
    x, y = digits
    rng = np.random.default_rng(0)
    some = rng.permutation(len(x))[:400]
    with pytest.warns(bnn.BnnpruneWarning) as found:
        bnn.prune(vgg, (x[some], y[some]), **QUICK)
    assert found[0].filename == __file__


def test_a_bar_of_tqdm(vgg, train_path, capsys):
    bnn.prune(vgg, train_path, progress=True, **QUICK)
    assert "%|" in capsys.readouterr().err


def test_sizes_lists_and_dicts(vgg):
    dialects = FIXTURES / "dialects"
    assert dialects.is_dir()
    result = bnn.eliminate(
        vgg, input_shape={"image": (1, 1, 8, 8)}, keep=["/conv1/Conv", "/conv2/Conv"], round_to=8
    )
    assert result.report["settings"]["keep"] == ["/conv1/Conv", "/conv2/Conv"]


def test_images_in_a_folder_are_preprocessed_as_by_the_command(vgg, command):
    folder = FIXTURES / "digits_png"
    options = {"scale": "1/255", "mean": [0.0], "std": [1.0], "resize": (8, 8), "channels": "gray"}
    found = bnn.evaluate(vgg, folder, runs=1, **options)
    same = command("eval", vgg, "--data", folder, "--runs=1", "--json", "--resize=8x8")
    assert found["confusion"] == json.loads(same.stdout)["confusion"]
    names = [str(digit) for digit in range(10)]
    assert bnn.evaluate(vgg, folder, runs=1, classes=names)["accuracy"] == found["accuracy"]
    with pytest.raises(bnn.DataError):
        bnn.evaluate(vgg, folder, runs=1, classes=names[:9])
