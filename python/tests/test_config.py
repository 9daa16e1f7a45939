"""Options in files: ``config``, ``save_config``, ``preprocessor``."""

import json

import onnx_bnnprune as bnn
import pytest
from conftest import as_arguments

# No masks are learned: what is chosen is the same in any case.
OPTIONS = {
    "method": "random",
    "ratio": 0.2,
    "main_epochs": 0,
    "final_epochs": 1,
    "max_drop": "none",
    "seed": 3,
}


def test_options_from_a_file_a_dict_and_the_command_are_the_same(vgg, train_path, tmp_path, command):
    saved = tmp_path / "run.toml"
    first = bnn.prune(vgg, train_path, save_config=saved, **OPTIONS)
    assert "ratio = 0.2\n" in saved.read_text()
    from_file = bnn.prune(vgg, train_path, config=saved)
    from_dict = bnn.prune(vgg, train_path, config={name.replace("_", "-"): v for name, v in OPTIONS.items()})
    assert first.to_bytes() == from_file.to_bytes() == from_dict.to_bytes()
    # Also if the file names the images.
    all_from_file = bnn.prune(vgg, config=saved)
    assert (all_from_file.to_bytes(), all_from_file.masks) == (first.to_bytes(), first.masks)
    # What is given wins, also over what excludes it.
    other = bnn.prune(vgg, train_path, config=saved, seed=4)
    assert other.report["seed"] == 4
    out = tmp_path / "out.onnx"
    # The images' path is an option like others; files of the call's own are none.
    command(vgg, out, "--quiet", "--config", saved)
    assert out.read_bytes() == first.to_bytes()
    assert "report" not in saved.read_text() and "masks" not in saved.read_text()
    with pytest.raises(bnn.UsageError, match="did you mean 'ratio'"):
        bnn.prune(vgg, train_path, config={"rato": 0.5})
    with pytest.raises(bnn.BnnpruneError, match=r"config: .*'--ratio"):
        bnn.prune(vgg, train_path, config={"ratio": 3})
    saved.write_text("data = 7\nrato = 1\n")
    assert "rato" in command(vgg, out, "--config", saved, code=2).stderr


def test_lists_pairs_and_dicts_in_a_dict(vgg):
    config = {
        "keep": ("/conv1/Conv", "/conv2/Conv"),
        "input_shape": {"image": (1, 1, 8, 8)},
        "round-to": 8,
        "normalise": True,
        "inference_mode": False,
    }
    one = bnn.eliminate(vgg, config=config)
    two = bnn.eliminate(vgg, **{name.replace("-", "_"): value for name, value in config.items()})
    assert one.to_bytes() == two.to_bytes()
    assert one.report["normalised"]


def test_the_preprocessing_that_lies_beside_a_model(vgg, test_path, tmp_path):
    right = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": False}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(right))
    assert bnn.evaluate(vgg, test_path, preprocessor=tmp_path, runs=1)["accuracy"] > 0.98
    wrong = {"image_mean": [0.9], "image_std": [0.1]}
    assert bnn.evaluate(vgg, test_path, preprocessor=wrong, runs=1)["accuracy"] < 0.98
    found = bnn.evaluate(vgg, test_path, preprocessor=wrong, mean=[0], std=[1], runs=1)
    assert found["accuracy"] > 0.98
    with pytest.raises(bnn.UsageError, match="none: cannot be read"):
        bnn.evaluate(vgg, test_path, preprocessor=tmp_path / "none")


def test_arguments_are_saved_as_they_were_typed(vgg, tmp_path, command, test_path):
    saved = tmp_path / "run.toml"
    options = as_arguments({"method": "none", "mean": "0", "scale": "1/255"})
    line = [vgg, tmp_path / "out.onnx", "--data", test_path, *options, "--save-config", saved]
    command(*line, code=0)
    text = saved.read_text()
    for part in ('method = "none"', "mean = [0]", 'scale = "1/255"', f'data = "{test_path}"'):
        assert part in text, text


def test_files_that_a_config_names_are_written(vgg, train_path, tmp_path):
    report, masks = tmp_path / "report.json", tmp_path / "masks.json"
    written = bnn.eliminate(vgg, config={"report": str(report)})
    assert json.loads(report.read_text()) == written.report
    chosen = bnn.prune(vgg, train_path, config={**OPTIONS, "save-masks": str(masks)})
    assert json.loads(masks.read_text()) == chosen.masks
    # A file does as a dict does.
    for path in (report, masks):
        path.unlink()
    config = tmp_path / "run.toml"
    config.write_text(f"report = '{report}'\nsave_masks = '{masks}'\n")
    again = bnn.prune(vgg, train_path, config=config, **OPTIONS)
    assert json.loads(report.read_text()) == again.report
    assert json.loads(masks.read_text()) == again.masks == chosen.masks
    # What is given wins.
    other = tmp_path / "other.json"
    report.unlink()
    bnn.eliminate(vgg, config={"report": str(report)}, report=other)
    assert other.exists() and not report.exists()


def test_an_option_of_a_config_without_effect_is_named_with_the_file(vgg, command, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("mask-epochs = 3\n")
    said = command(vgg, tmp_path / "out.onnx", "--config", path, code=2).stderr
    assert "run.toml: --mask-epochs has no effect here" in said
    assert "--unset mask-epochs" in said
    command(vgg, tmp_path / "out.onnx", "--config", path, "--unset", "mask-epochs")
    typed = command(vgg, tmp_path / "out.onnx", "--mask-epochs", 3, code=2).stderr
    assert "run.toml" not in typed and "--unset" not in typed


@pytest.mark.parametrize("in_file", [False, True])
def test_what_is_asked_for_in_a_config(vgg, train_path, tmp_path, in_file):
    def config(**options):
        if not in_file:
            return options
        path = tmp_path / "run.toml"
        path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in options.items()))
        return path

    nothing_learned = bnn.prune(vgg, config=config(data=train_path, method="none"))
    assert nothing_learned.masks is None and nothing_learned.report["accuracy"]
    plan = bnn.prune(vgg, train_path, config=config(dry_run=True, ratio=0.2))
    assert plan.masks is None
    with pytest.raises(bnn.BnnpruneError, match="dry run"):
        plan.path
    # Images do not make it learn.
    eliminated = bnn.eliminate(vgg, config=config(data=train_path))
    assert eliminated.to_bytes() == nothing_learned.to_bytes()
    with pytest.raises(bnn.UsageError, match="apply_masks"):
        bnn.eliminate(vgg, config=config(masks="masks.json"))


@pytest.mark.parametrize("in_file", [False, True])
def test_false_overrules_a_config(vgg, train_path, tmp_path, in_file):
    options = {"dry_run": True, "seed": 3}
    path = tmp_path / "run.toml"
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in options.items()))
    config = path if in_file else options
    pruned = bnn.eliminate(vgg, config=config, dry_run=False)
    assert pruned.to_bytes() == bnn.eliminate(vgg, seed=3).to_bytes()
    assert pruned.report["seed"] == 3
    assert bnn.eliminate(vgg, config=config, unset="seed", dry_run=False).report["seed"] == 0
    assert bnn.eliminate(vgg, config=config, unset=["dry-run", "dry_run"]).to_bytes() == pruned.to_bytes()


def test_files_that_are_unset_are_neither_written_nor_read(vgg, tmp_path):
    stale = tmp_path / "report.json"
    stale.write_text("{}")
    result = bnn.eliminate(vgg, config={"report": str(stale), "seed": 5}, unset="report")
    assert result.report["seed"] == 5 and stale.read_text() == "{}"


def test_what_lies_in_memory_is_not_saved(vgg, train_path, digits, tmp_path):
    saved = tmp_path / "run.toml"
    saved.write_text("seed = 1\n")
    masks = {"/conv2/Conv": [3]}
    for names, call in (
        ("masks", lambda: bnn.apply_masks(vgg, masks, save_config=saved)),
        ("data, classes", lambda: bnn.prune(vgg, digits, classes=list("abcdefghij"), save_config=saved)),
        ("val", lambda: bnn.prune(vgg, train_path, val=digits, save_config=saved)),
        ("like", lambda: bnn.prune(vgg, train_path, config={"like": masks}, save_config=saved)),
    ):
        with pytest.raises(bnn.UsageError, match=f"in memory: {names};"):
            call()
    assert saved.read_text() == "seed = 1\n"
    # A preprocessor's options are saved themselves.
    bnn.eliminate(vgg, train_path, preprocessor={"do_normalize": False}, save_config=saved)
    text = saved.read_text()
    assert 'method = "none"' in text and "scale" in text and "report" not in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.toml"]


def test_training_takes_a_file_too(vgg, train_path, test_path, tmp_path):
    saved = tmp_path / "train.toml"
    first = bnn.train(vgg, test_path, val=train_path, epochs=1, seed=5, save_config=saved)
    again = bnn.train(vgg, test_path, config=saved)
    assert again.to_bytes() == first.to_bytes()
