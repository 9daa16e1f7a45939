"""Sweeps: each run a task of Ray, kept as soon as it is done."""

import json
import os
import pickle
import sys
import threading
import time

import numpy as np
import onnx_bnnprune as bnn
import pytest

# Before Ray is imported: tests report nothing to anybody.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
import ray
from conftest import FIXTURES
from onnx_bnnprune import _cell, _cluster
from onnx_bnnprune._sweep_folder import Folder, Inputs

# A file can be locked as the tool locks it.
unix = pytest.mark.skipif(sys.platform == "win32", reason="the system has no such locks")

QUICK = {"mask_epochs": 1, "main_epochs": 0, "final_epochs": 1, "batch_size": 256}


@pytest.fixture(scope="module")
def here():
    """This machine as a cluster."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def without_time(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def counts(heard):
    """A progress callback that keeps how many runs are done."""
    return lambda phase, done, total, detail: heard.append((phase, done, total))


def test_rows_are_those_of_compare(here, train_path, test_path, tmp_path):
    resnet = FIXTURES / "digits_resnet.onnx"
    options = {"val": test_path, **QUICK}
    # One of its layers keeps all filters at that share.
    chosen = {"methods": ["subsidiary"], "ratios": [0.5]}
    compared = bnn.compare(resnet, train_path, seeds=2, **chosen, **options)
    found = bnn.sweep(resnet, train_path, seeds=[1], folder=tmp_path / "sweep", **chosen, **options)
    expected = [row for row in compared["rows"] if row["seed"] == 1]
    assert without_time(found.report["rows"]) == without_time(expected)
    assert [row["method"] for row in expected] == ["unpruned", "subsidiary"]
    assert list(found.report) == list(compared)
    assert set(found.report["run"]) == set(compared["run"])
    # So is the page.
    assert "Accuracy against size" in found.report.html and "<svg" in found.report.html
    assert "<iframe" in found._repr_html_()


def test_without_methods_the_unpruned_network_is_retrained(here, vgg, train_path, tmp_path):
    options = {"folder": tmp_path / "sweep", **QUICK}
    found = bnn.sweep(vgg, train_path, methods=[], ratios=[], seeds=[0], **options)
    assert [row["method"] for row in found.report["rows"]] == ["unpruned"]


def test_one_run_of_a_comparison(vgg, train_path):
    chosen = {"methods": ["random"], "ratios": [0.2]}
    whole = bnn.compare(vgg, train_path, seeds=2, **chosen, **QUICK)["rows"]
    for only, expected in (("unpruned:0:1", whole[2]), ("random:0.2:1", whole[3])):
        rows = bnn.compare(vgg, train_path, only=only, **QUICK)["rows"]
        assert without_time(rows) == without_time([expected])
    for only in ("random:0.2", "best:0.2:0", "unpruned:0.2:0", "random:1:0", "random:0.2:-1"):
        with pytest.raises(bnn.UsageError, match="METHOD:SHARE:SEED"):
            bnn.compare(vgg, train_path, only=only)


def test_the_same_call_goes_on(here, vgg, digits, tmp_path):
    folder, heard = tmp_path / "sweep", []
    model = open(vgg, "rb").read()
    arguments = {"folder": folder, "progress": counts(heard), **QUICK}
    first = bnn.sweep(model, digits, "random", 0.2, 1, **arguments)
    assert heard[0] == ("sweeping", 0, 2) and heard[-1] == ("sweeping", 2, 2)
    kept = {path: path.stat().st_mtime_ns for path in (folder / "cells").iterdir()}
    assert len(kept) == 2 and not any((folder / "running").iterdir())
    heard.clear()
    more = bnn.sweep(model, digits, ["random", "magnitude"], [0.2], 1, **arguments)
    assert min(done for _, done, _ in heard[1:]) == 2 and heard[-1] == ("sweeping", 3, 3)
    assert more.report["rows"][:2] == first.report["rows"]
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    # What is not asked for is not shown.
    assert len(bnn.sweep(model, digits, "random", 0.2, 1, **arguments).report["rows"]) == 2
    # Rows of something else are not mixed in.
    x, y = digits
    for other, what in (
        (lambda: bnn.sweep(model, (x[1:], y[1:]), "random", 0.2, 1, **arguments), "another data"),
        (lambda: bnn.sweep(model + b"\0", digits, "random", 0.2, 1, **arguments), "another model"),
        (
            lambda: bnn.sweep(model, digits, "random", 0.2, 1, **{**arguments, "final_epochs": 2}),
            "another final_epochs: 1, not 2",
        ),
    ):
        with pytest.raises(bnn.CheckpointError, match=what) as found:
            other()
        assert found.value.file == str(folder) and "another folder" in found.value.remedy
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert not [name for name in os.listdir(folder) if name.startswith(".")]
    # How a run is done is free.
    bnn.sweep(model, digits, "random", 0.2, 1, **{**arguments, "threads": 2})
    (folder / "cells" / "random-0.2-0.json").write_text("{")
    with pytest.raises(bnn.CheckpointError, match="random-0.2-0.json: is not what a sweep keeps"):
        bnn.sweep(model, digits, "random", 0.2, 1, **arguments)


def test_a_run_that_fails_leaves_the_others(here, vgg, train_path, tmp_path):
    # More than all other layers have.
    options = {"folder": tmp_path / "sweep", "keep": "/conv2/Conv", **QUICK}
    with pytest.raises(bnn.BnnpruneError, match="^random at 0.9, seed 0: ") as found:
        bnn.sweep(vgg, train_path, "random", [0.2, 0.9], 1, **options)
    assert [row["ratio"] for row in found.value.report["rows"]] == [0.0, 0.2]
    assert found.value.exit_code == 2
    heard = []
    bnn.sweep(vgg, train_path, "random", 0.2, 1, progress=counts(heard), **options)
    assert set(heard) == {("sweeping", 0, 2), ("sweeping", 2, 2)}


def test_what_a_callback_raises_stops_the_tasks(here, vgg, train_path, tmp_path):
    folder, saved = tmp_path / "sweep", []

    def stop(phase, done, total, detail):
        for _ in range(300):
            saved.extend((folder / "running").rglob("checkpoint.bin"))
            if done == 0 or saved:
                break
            time.sleep(0.1)
        if done:
            raise LookupError("enough")

    arguments = [vgg, train_path, ["random", "magnitude"], 0.2, 2]
    options = {"folder": folder, "checkpoint_every": 0, **QUICK}
    with pytest.raises(LookupError, match="enough"):
        bnn.sweep(*arguments, progress=stop, **options)
    assert saved
    done = len(os.listdir(folder / "cells"))
    assert 1 <= done < 6
    time.sleep(3)
    # Neither those under way nor those that waited went on.
    assert len(os.listdir(folder / "cells")) == done
    heard = []
    result = bnn.sweep(*arguments, progress=counts(heard), **options)
    assert heard[1] == ("sweeping", done, 6) and len(result.report["rows"]) == 6


def test_bad_input_is_what_the_package_says_it_is(here, vgg, digits, tmp_path):
    folder, wrong = tmp_path / "sweep", {"std": [0.01]}
    x, y = digits
    shuffled = np.random.default_rng(0).permutation(y)
    with pytest.raises(bnn.DataError, match="^2 of 2 runs failed; ") as found:
        bnn.sweep(vgg, x, "random", 0.2, 1, labels=shuffled, folder=folder, **QUICK)
    assert found.value.report["rows"] == []
    # Nothing has come of it: the folder is free for the right ones.
    assert len(bnn.sweep(vgg, digits, "random", 0.2, 1, folder=folder, **QUICK).report["rows"]) == 2
    with pytest.raises(bnn.CheckpointError, match="another std"):
        bnn.sweep(vgg, digits, "random", 0.2, 1, folder=folder, **wrong, **QUICK)
    with pytest.raises(bnn.ModelError):
        bnn.sweep(tmp_path / "none.onnx", digits, folder=tmp_path / "other")
    with pytest.raises(bnn.DataError, match="does not exist"):
        bnn.sweep(vgg, tmp_path / "none", folder=tmp_path / "other")
    with pytest.raises(bnn.OutputError):
        bnn.sweep(vgg, digits, folder=vgg)


@pytest.mark.parametrize(
    "options, error, word",
    [
        ({"methods": "best"}, bnn.UsageError, "best"),
        ({"methods": ["none"]}, bnn.UsageError, "--methods none"),
        ({"ratios": [1.5]}, bnn.UsageError, "--ratios"),
        ({"methods": ["unpruned"]}, bnn.UsageError, "always compared with"),
        ({"seeds": [-1]}, bnn.UsageError, "seeds"),
        ({"seeds": [2**64]}, bnn.UsageError, "seeds"),
        ({"seeds": 0}, bnn.UsageError, "seeds"),
        ({"batch_size": 0}, bnn.UsageError, "--batch-size"),
        ({"views": 2}, bnn.UsageError, "--views has no effect"),
        ({"rato": 0.2}, TypeError, r"sweep\(\) .* 'rato'"),
        ({"checkpoint": "run"}, TypeError, "'checkpoint'"),
        ({"only": "random:0.2:0"}, TypeError, "'only'"),
    ],
)
def test_options_are_refused_before_anything_runs(vgg, train_path, tmp_path, options, error, word):
    with pytest.raises(error, match=word):
        bnn.sweep(vgg, train_path, folder=tmp_path / "sweep", **options)
    assert not (tmp_path / "sweep").exists()


def test_without_ray(vgg, train_path, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match="pip install ray"):
        bnn.sweep(vgg, train_path, folder=tmp_path / "sweep")


def test_nodes_that_see_other_files_are_refused(here, vgg, train_path, tmp_path):
    folder = Folder(str(tmp_path))
    job = _cluster.Job(folder.path, Inputs(vgg, train_path, None), {})
    needs = _cluster.Needs(1, {}, 0)
    with _cluster.Cluster(None) as cluster:
        cluster.check(job, needs)
        for other in (
            job._replace(inputs=Inputs(vgg, str(tmp_path / "none"), None)),
            job._replace(options={"classes": str(tmp_path / "none")}),
        ):
            with pytest.raises(bnn.UsageError, match="^node .*none is not there.*all nodes share"):
                cluster.check(other, needs)
        with pytest.warns(bnn.BnnpruneWarning, match="no node has"):
            cluster.check(job, _cluster.Needs(1, {"FPGA": 1}, 0))
    assert ray.is_initialized()
    with pytest.raises(bnn.UsageError, match="address"):
        _cluster.Cluster("auto")
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]
    token = str(tmp_path / "token")
    assert "all nodes share" in _cluster._seen(job, token, bnn.__version__)
    assert "same version" in _cluster._seen(job, token, "0.0.1")


def test_a_table_and_curves(tmp_path):
    import pandas

    def row(method, ratio, seed, accuracy):
        return {
            "method": method,
            "ratio": ratio,
            "seed": seed,
            "pruned_ratio": ratio,
            "macs_left": 1 - ratio,
            "bytes_left": 1 - ratio / 2,
            "accuracy_after": accuracy,
        }

    rows = [
        row("unpruned", 0.0, 0, 0.70),
        row("random", 0.5, 0, 0.60),
        row("random", 0.25, 0, 0.65),
        row("unpruned", 0.0, 4, 0.72),
        row("random", 0.5, 4, 0.64),
    ]
    result = bnn.SweepResult(bnn.Report(rows=rows), str(tmp_path))
    assert list(result.curves) == ["unpruned", "random"]
    low, high = result.curves["random"]
    assert (low["ratio"], low["runs"], low["accuracy"], low["accuracy_error"]) == (0.25, 1, 0.65, None)
    expected = {"accuracy": 0.62, "accuracy_error": 0.02, "against_unpruned": -0.09}
    expected |= {"filters_removed": 0.5, "macs_removed": 0.5, "bytes_removed": 0.25}
    assert {key: high[key] for key in expected} == pytest.approx(expected)
    assert "against_unpruned" in result._repr_html_()
    path = tmp_path / "table.parquet"
    result.to_parquet(path)
    pandas.testing.assert_frame_equal(pandas.read_parquet(path), result.to_pandas())
    assert os.listdir(tmp_path) == ["table.parquet"]


def test_exceptions_come_back_from_other_machines():
    error = bnn.DataError("x.npz: is bad; give another", file="x.npz", exit_code=2, report={"rows": []})
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is bnn.DataError and str(back) == str(error)
    assert (back.file, back.remedy, back.report) == (error.file, error.remedy, error.report)


def test_a_row_that_is_kept_is_not_computed_again(tmp_path):
    folder, cell = Folder(str(tmp_path)), _cell.Cell("random", 0.2, 3)
    row = {"method": "random", "ratio": 0.2, "seed": 3, "accuracy_after": 0.5}
    folder.keep(cell, row, ["a warning"], "a node")
    # Its node died before it could tell.
    job = _cluster.Job(folder.path, Inputs("nowhere.onnx", "nowhere.npz", None), {})
    assert _cluster._run(job, cell) == (row, ["a warning"])


@unix
def test_a_lock_that_outlives_a_node_is_waited_for(here, vgg, train_path, tmp_path):
    import fcntl

    lock = tmp_path / "running" / "unpruned-0.0-0" / "run" / "lock"
    lock.parent.mkdir(parents=True)
    heard = []
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        timer = threading.Timer(8, fcntl.flock, (file, fcntl.LOCK_UN))

        def hear(phase, done, total, detail):
            heard.append((done, timer.is_alive()))

        timer.start()
        found = bnn.sweep(vgg, train_path, "random", 0.2, 1, folder=tmp_path, progress=hear, **QUICK)
        timer.join()
    assert len(found.report["rows"]) == 2 and (2, True) not in heard


def test_two_nodes_one_of_which_is_killed(vgg, train_path, tmp_path):
    import psutil
    from ray.cluster_utils import Cluster

    ray.shutdown()
    folder = tmp_path / "sweep"
    methods = ["random", "magnitude", "bn-scale", "sign-balance", "taylor"]
    cells = _cell.plan(methods, [0.2], range(2))
    killed = []

    def node_of(cell):
        path = folder / "cells" / f"{cell.name}.json"
        return json.loads(path.read_text())["node"] if path.exists() else None

    def end(node):
        # As a machine does: all of it at once.
        (raylet,) = node.all_processes["raylet"]
        processes = psutil.Process(raylet.process.pid).children(recursive=True)
        for process in processes:
            process.suspend()
        cluster.remove_node(node, allow_graceful=False)
        for process in processes:
            process.kill()

    def kill(phase, done, total, detail):
        under_way = os.listdir(folder / "running")
        done_by = [node_of(cell) for cell in cells if str(cell) == detail]
        # The head has just ended a run and not begun another: what is under way is the other's.
        if not killed and done >= 3 and len(under_way) == 1 and done_by != [second.node_id]:
            if second.node_id in map(node_of, cells):
                end(second)
                killed.extend(cell for cell in cells if cell.name in under_way)

    # Sooner than usual a node that says nothing is a dead one.
    config = {"health_check_period_ms": 500, "health_check_failure_threshold": 4}
    head = {"num_cpus": 1, "_system_config": config}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        second = cluster.add_node(num_cpus=1)
        options = {"folder": folder, "address": cluster.address, **QUICK}
        result = bnn.sweep(vgg, train_path, methods, 0.2, 2, progress=kill, **options)
        assert not ray.is_initialized()
    finally:
        ray.shutdown()
        cluster.shutdown()
    rows = result.report["rows"]
    assert len(cells) == len(rows) == 12
    assert all(cell.is_of(row) for cell, row in zip(cells, rows))
    # Both have done their part, and the head what was under way on the other, with the row that it always has.
    (lost,) = killed
    nodes = [node_of(cell) for cell in cells]
    assert len(set(nodes)) == 2 and second.node_id in nodes and node_of(lost) != second.node_id
    alone = bnn.compare(vgg, train_path, only=lost.only, **QUICK)["rows"]
    assert without_time(alone) == without_time([rows[cells.index(lost)]])
    assert not any((folder / "running").iterdir())
