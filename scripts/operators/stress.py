#!/usr/bin/env python3
"""Tries to break the library of operators: malformed nodes, many threads and sessions at once, leaks.

    pip install onnx numpy onnxruntime
    scripts/operators/stress.py --library target/release/libonnx_bnnprune_ops.so MODEL.ops.onnx ...

MODELs are files in the form `ops`. A crash ends this process with a signal; anything else that is wrong with an
assertion. Each part says what it did.
"""

import argparse
import random
import resource
import threading
import time

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

DOMAIN = "onnx-bnnprune/docs/operators.md"
SIZES = [-(2**63), -(2**31), -1, 0, 1, 2, 3, 7, 8, 64, 1000, 2**20, 2**20 + 1, 2**31, 2**62, 2**63 - 1]


def session(model, library, threads=1):
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.register_custom_ops_library(library)
    return ort.InferenceSession(model, options)


def images(model, count, seed=0):
    """Random inputs of a session or a file."""
    value = model.get_inputs()[0]
    shape = [count if not isinstance(d, int) else d for d in value.shape[:1]] + list(value.shape[1:])
    return {value.name: np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}


def mutate(model, rng):
    """Changes a node of the domain, or a tensor that it reads; says what."""
    nodes = [n for n in model.graph.node if n.domain == DOMAIN]
    node = rng.choice(nodes)
    held = {t.name: t for t in model.graph.initializer}
    constants = [i for i in node.input if i in held]
    kind = rng.randrange(12)
    if kind == 0 and node.attribute:
        del node.attribute[rng.randrange(len(node.attribute))]
    elif kind in (1, 2, 3) and node.attribute:
        attribute = rng.choice(node.attribute)
        name = attribute.name
        wild = [
            rng.choice(SIZES),
            [rng.choice(SIZES) for _ in range(rng.choice([0, 1, 2, 3, 4, 5, 2000]))],
            1.5,
            "text",
        ]
        new = wild[0] if kind == 1 else wild[1] if kind == 2 else rng.choice(wild)
        if new == []:
            attribute.ints.clear()
        else:
            attribute.CopyFrom(helper.make_attribute(name, new))
    elif kind == 4 and node.input:
        del node.input[rng.randrange(len(node.input)) :]
    elif kind == 5 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(
            [""] + [i for n in model.graph.node for i in (*n.input, *n.output)]
        )
    elif kind == 6 and node.input:
        node.input.extend(rng.choices(list(node.input), k=rng.randint(1, 3)))
    elif kind == 7:
        node.op_type = rng.choice(nodes).op_type
    elif kind == 8:
        node.output.append(f"extra{rng.random()}")
    elif constants:
        tensor = held[rng.choice(constants)]
        array = numpy_helper.to_array(tensor)
        change = rng.randrange(6)
        if change == 0 and array.ndim:
            axis = rng.randrange(array.ndim)
            more = array.size < 1 << 20
            array = np.repeat(array, 2, axis) if more and rng.random() < 0.5 else array.take(range(array.shape[axis] // 2), axis)
        elif change == 1:
            array = array.reshape(-1)
        elif change == 2:
            array = array.astype(rng.choice([np.float32, np.uint8, np.int32, np.int64, np.float64]))
        elif change == 3:
            array = array[None]
        elif change == 4:
            array = np.zeros([0] * array.ndim, array.dtype)
        else:
            array = np.frombuffer(rng.randbytes(array.nbytes), array.dtype).reshape(array.shape)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
        if change == 1 and rng.random() < 0.3:
            del tensor.dims[:]
            tensor.dims.extend([rng.choice(SIZES[2:]) for _ in range(rng.randint(1, 5))])
    else:
        node.attribute.append(helper.make_attribute("channels", rng.choice(SIZES)))
    # What is known of shapes may be wrong as well, or unknown.
    if rng.random() < 0.3:
        dims = model.graph.input[0].type.tensor_type.shape.dim
        dim = rng.choice(dims)
        if rng.random() < 0.5:
            dim.dim_value = rng.choice([1, 2, 3, 5, 8])
        else:
            dim.dim_param = "free"


def malformed(models, library, count, seed):
    rng = random.Random(seed)
    sources = [onnx.load(m).SerializeToString() for m in models]
    refused, failed, ran = 0, 0, 0
    for i in range(count):
        model = onnx.ModelProto.FromString(rng.choice(sources))
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            try:
                mutate(model, rng)
            except ValueError:
                # A tensor that was changed before can no longer be read.
                break
        try:
            opened = session(model.SerializeToString(), library)
        except Exception as error:
            assert "failed inside" not in str(error), error
            refused += 1
            continue
        value = opened.get_inputs()[0]
        shape = [d if isinstance(d, int) and d > 0 else rng.choice([1, 2, 8, 9]) for d in value.shape]
        try:
            opened.run(None, {value.name: rng.choice([0.0, 1.0]) * np.ones(shape, np.float32)})
            ran += 1
        except Exception as error:
            assert "failed inside" not in str(error), error
            failed += 1
    print(f"malformed nodes: {count}, of which {refused} were refused at load, {failed} when they ran, {ran} ran")


def race(models, library, seconds):
    """Sessions that are shared and sessions that are made and dropped, on many threads at once."""
    shared = [session(m, library, threads) for m in models for threads in (1, 2)]
    inputs = [images(s, 3) for s in shared]
    wanted = [s.run(None, x)[0] for s, x in zip(shared, inputs)]
    stop, wrong, runs = time.monotonic() + seconds, [], [0]
    lock = threading.Lock()

    def work(number):
        rng, done = random.Random(number), 0
        while time.monotonic() < stop:
            k = rng.randrange(len(shared))
            opened = shared[k] if rng.random() < 0.9 else session(models[k // 2], library, rng.choice([1, 2]))
            if not np.array_equal(opened.run(None, inputs[k])[0], wanted[k]):
                wrong.append(k)
            done += 1
        with lock:
            runs[0] += done

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not wrong, f"other outputs beside other threads: {len(wrong)}"
    print(f"race: {runs[0]} runs on 8 threads, in shared and in new sessions, all with the same outputs")


def memory():
    """Resident memory in KiB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024


def leaks(models, library, count):
    def use(number):
        opened = session(models[number % len(models)], library)
        opened.run(None, images(opened, 1))

    for number in range(min(count // 5, 500)):
        use(number)
    before = memory()
    for number in range(count):
        use(number)
    after = memory()
    print(f"leaks: {count} sessions, resident memory {before} KiB before, {after} KiB after")
    assert after - before < 16384 + count, "memory grows with sessions"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--library", required=True)
    parser.add_argument("--malformed", type=int, default=1000, metavar="N", help="malformed models")
    parser.add_argument("--seconds", type=float, default=3, help="of the race")
    parser.add_argument("--sessions", type=int, default=200, metavar="N", help="sessions that must not leak")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    race(arguments.models, arguments.library, arguments.seconds)
    malformed(arguments.models, arguments.library, arguments.malformed, arguments.seed)
    if arguments.sessions:
        leaks(arguments.models, arguments.library, arguments.sessions)


if __name__ == "__main__":
    main()
