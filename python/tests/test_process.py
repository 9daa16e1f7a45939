"""One process: Ctrl-C, threads side by side, forks, imports, memory."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx_bnnprune as bnn
import pytest
from conftest import QUICK, as_arguments

# A signal is more than the end of a process, and memory can be measured.
unix = pytest.mark.skipif(sys.platform == "win32", reason="the system has no such signals or figures")

LONG = {**QUICK, "mask_epochs": 8, "threads": 1}


@unix
def test_ctrl_c_leaves_the_process_alive_and_a_checkpoint_that_continues(vgg, digits, tmp_path):
    whole = bnn.prune(vgg, digits, **LONG)
    folder = tmp_path / "run"
    options = {**LONG, "checkpoint": folder, "checkpoint_every": 0}
    pressed = threading.Event()

    def press(phase, done, total, detail):
        if done > 5 and not pressed.is_set() and (folder / "checkpoint.bin").exists():
            pressed.set()
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="continue from the checkpoint"):
        bnn.prune(vgg, digits, progress=press, **options)
    assert pressed.is_set()
    # At another number of threads, and to the same bytes.
    result = bnn.prune(vgg, digits, **{**options, "threads": 2})
    assert result.to_bytes() == whole.to_bytes()
    assert not (folder / "checkpoint.bin").exists()


@unix
def test_ctrl_c_without_a_checkpoint(vgg, train_path):
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt, match="interrupted"):
        bnn.prune(vgg, train_path, **{**LONG, "mask_epochs": 100_000})
    assert bnn.eliminate(vgg).report["verification"]["passed"]


@unix
def test_ctrl_c_in_the_command(vgg, train_path, tmp_path):
    folder = tmp_path / "run"
    options = {**LONG, "mask_epochs": 100_000, "checkpoint": folder, "checkpoint_every": 0}
    line = [sys.executable, "-m", "onnx_bnnprune", vgg, "out.onnx", f"--data={train_path}"]
    process = subprocess.Popen(
        [*line, *as_arguments(options)], stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    for _ in range(600):
        if (folder / "checkpoint.bin").exists():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130, text
    assert "continue from the checkpoint" in text and "Traceback" not in text


def test_what_a_callback_raises_comes_back(vgg, train_path):
    def fail(*_):
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        bnn.prune(vgg, train_path, progress=fail, **{**LONG, "mask_epochs": 100_000})


def test_threads_side_by_side(vgg, train_path):
    alone = bnn.prune(vgg, train_path, **QUICK).to_bytes()
    with ThreadPoolExecutor(3) as pool:
        runs = [
            pool.submit(bnn.prune, vgg, train_path, **QUICK, threads=threads) for threads in (1, 2, 3)
        ]
        assert {run.result().to_bytes() for run in runs} == {alone}


def test_the_lock_is_released(vgg, train_path):
    count = 0
    done = threading.Event()

    def run():
        bnn.prune(vgg, train_path, **QUICK)
        done.set()

    thread = threading.Thread(target=run)
    thread.start()
    while not done.wait(0.01):
        count += 1
    thread.join()
    assert count > 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_a_fork_after_use(vgg, train_path):
    script = """
        import os, sys
        import onnx_bnnprune as bnn
        model, data, options = sys.argv[1], sys.argv[2], eval(sys.argv[3])
        before = bnn.prune(model, data, **options)
        child = os.fork()
        after = bnn.prune(model, data, **options)
        assert after.to_bytes() == before.to_bytes()
        if child == 0:
            del after
            print("child", flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        # What the child leaves behind is still there.
        assert before.to_bytes()
        print("parent")
    """
    done = python(script, vgg, train_path, repr(QUICK))
    assert done.stdout.split() == ["child", "parent"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_a_pool_of_forked_processes(vgg):
    script = """
        import multiprocessing, sys
        import onnx_bnnprune as bnn
        def work(model):
            return bnn.eliminate(model).to_bytes()
        first = work(sys.argv[1])
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert set(pool.map(work, [sys.argv[1]] * 4)) == {first}
    """
    python(script, vgg)


def test_models_run_where_python_was_started_oddly(vgg, tmp_path):
    # Neither the current folder nor a script beside it is imported from.
    for name in ("numpy.py", "onnxruntime.py", "json.py", "_native.py"):
        (tmp_path / name).write_text("raise SystemExit('imported')")
    script = "import onnx_bnnprune as bnn, sys; print(bnn.verify(sys.argv[1], sys.argv[1])['passed'])"
    line = [sys.executable, "-I", "-c", script, vgg]
    done = subprocess.run(line, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "True\n", done.stderr


def test_models_run_in_this_process_if_asked(vgg):
    script = """
        import sys
        import onnx_bnnprune as bnn
        assert bnn.eliminate(sys.argv[1], in_process=True).report["verification"]["passed"]
    """
    python(script, vgg)


def test_importing_is_quick_and_loads_nothing_else():
    script = """
        import sys, time
        start = time.perf_counter()
        import onnx_bnnprune
        took = time.perf_counter() - start
        heavy = {"numpy", "onnx", "onnxruntime", "pandas", "tqdm"} & set(sys.modules)
        assert not heavy, heavy
        print(took)
    """
    assert min(float(python(script).stdout) for _ in range(3)) < 0.2


@unix
def test_no_batch_is_in_memory_twice(tmp_path):
    """The file that batches go into takes as much memory as a batch."""
    script = """
        import resource, sys
        import numpy as np
        from onnx_bnnprune import _data
        def batches():
            for start in range(64):
                yield np.full((64, 3, 32, 32), start, "float32"), np.arange(64) % 10
        _data.file_of(batches(), None, sys.argv[1], "warm")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        def many():
            for _ in range(5):
                yield from batches()
        path = _data.file_of(many(), None, sys.argv[1], "data")
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        with np.load(path) as archive:
            assert archive["x"].shape == (64 * 64 * 5, 3, 32, 32)
            assert archive["x"][64 * 70, 0, 0, 0] == 6
    """
    grown = int(python(script, str(tmp_path)).stdout)
    assert grown < 16 << 10, f"{grown} KiB for 240 MiB of images"


@unix
def test_memory_of_a_run_from_batches_is_the_commands(vgg, tmp_path, digits, command):
    """The peak is that of the command on the same images, and at most a tenth more."""
    x, y = digits
    # So many that numpy and the interpreter themselves are less than a tenth.
    many = 300
    path = tmp_path / "images.npz"
    images = np.tile(x.astype("float32") / 255, (many, 1, 1, 1))
    np.savez(path, x=images, y=np.tile(y, many))
    del images
    options = {"method": "random", "ratio": 0.2, "main_epochs": 0, "final_epochs": 0}
    options |= {"max_drop": "none", "val_split": 0.001, "threads": 2}
    line = [str(vgg), str(tmp_path / "out.onnx"), f"--data={path}", "--quiet", *as_arguments(options)]
    script = """
        import resource, runpy, sys
        sys.argv = ["onnx-bnnprune", *sys.argv[1:]]
        from onnx_bnnprune._command import main
        code = main()
        assert code == 0, code
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """
    of_command = int(python(script, *line).stdout.split()[-1])
    script = """
        import resource, sys
        import numpy as np
        import onnx_bnnprune as bnn
        model, seed, many, options = sys.argv[1], sys.argv[2], int(sys.argv[3]), eval(sys.argv[4])
        with np.load(seed) as archive:
            x, y = archive["x"].astype("float32") / 255, archive["y"]
        class Loader:
            def __iter__(self):
                for _ in range(many):
                    yield x, y
        bnn.prune(model, Loader(), **options)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """
    seed = str(tmp_path / "seed.npz")
    np.savez(seed, x=x, y=y)
    of_python = int(python(script, vgg, seed, str(many), repr(options)).stdout)
    print(f"command {of_command} KiB, from batches {of_python} KiB")
    assert of_python <= 1.1 * of_command, f"{of_python} KiB, the command takes {of_command} KiB"


def python(script, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done
