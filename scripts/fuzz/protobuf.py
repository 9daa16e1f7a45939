#!/usr/bin/env python3
"""Mutates ONNX files at the level of protobuf fields and takes each through the tool.

`examples/mutate.rs` changes bytes and decoded models; this one changes what lies between: fields
are dropped, doubled, moved into other messages, nested in themselves, given other numbers, other
wire types, varints at the edges and beyond, lengths that lie, packed where they were not. Most
results still decode, as models that no exporter writes.

Each file goes through `inspect`, through elimination (`--method none --dry-run`) and, a folder at a
time, through `check`, each process within 10 seconds of computing and 1 GiB. Prints what broke that, or died of
a panic or a signal, keeps those files, and exits with 1 if there were any. Same seed, same files.

    scripts/fuzz/protobuf.py --tool target/release/onnx-bnnprune --count 10000
"""

import argparse
import os
import random
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 10
# A machine that does other things as well lets a process wait.
WAIT = 6
MEMORY = 1 << 30
# How many files one `check` takes.
FOLDER = 50
PANIC = 101

# Fields of the ONNX schema that hold messages: message -> field number -> message.
MESSAGES = {
    "Model": {7: "Graph", 8: "Opset", 14: "Entry", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph", 3: "Entry", 4: "Entry"},
    "Graph": {
        1: "Node", 5: "Tensor", 11: "Value", 12: "Value", 13: "Value", 14: "Annotation",
        15: "Sparse", 16: "Entry",
    },
    "Node": {5: "Attribute", 9: "Entry"},
    "Attribute": {
        5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 14: "Type", 15: "Type", 22: "Sparse",
        23: "Sparse",
    },
    "Tensor": {3: "Segment", 13: "Entry", 16: "Entry"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Value": {2: "Type", 4: "Entry"},
    "Type": {1: "TensorType", 4: "Wrapped", 5: "Map", 8: "TensorType", 9: "Wrapped"},
    "TensorType": {2: "Shape"},
    "Wrapped": {1: "Type"},
    "Map": {2: "Type"},
    "Shape": {1: "Dimension"},
    "Annotation": {2: "Entry"},
    "Function": {7: "Node", 9: "Opset", 11: "Attribute", 12: "Value", 14: "Entry"},
}
VARINT, FIXED64, BYTES, START, END, FIXED32 = range(6)
EDGES = [0, 1, 2, 127, 128, 2**31 - 1, 2**31, 2**32, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
TEXTS = [b"", b"\xff\xfe", b"x" * 5000, b"../../etc/passwd", b"/dev/zero", b"\n::error::x", b"Conv", b"Sign", b"Loop", b"ai.onnx"]


class Message:
    """A decoded message: fields as [number, wire type, value], value a Message where known."""

    def __init__(self, kind, fields):
        self.kind, self.fields = kind, fields


def read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def decode(kind, data):
    fields, at = [], 0
    while at < len(data):
        tag, at = read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = read_varint(data, at)
        elif wire == BYTES:
            size, at = read_varint(data, at)
            value, at = data[at : at + size], at + size
            inner = MESSAGES.get(kind, {}).get(number)
            if inner:
                value = decode(inner, value)
        else:
            size = 8 if wire == FIXED64 else 4
            value, at = data[at : at + size], at + size
        fields.append([number, wire, value])
    return Message(kind, fields)


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode(message, lies):
    out = bytearray()
    for field in message.fields:
        number, wire, value = field
        out += varint(number << 3 | wire)
        if isinstance(value, Message):
            value = encode(value, lies)
        if wire == VARINT:
            out += varint(value) if isinstance(value, int) else bytes(value)
        elif wire == BYTES:
            value = value if isinstance(value, (bytes, bytearray)) else varint(value)
            out += varint(lies.get(id(field), len(value))) + value
        elif wire in (FIXED32, FIXED64):
            value = value if isinstance(value, (bytes, bytearray)) else varint(value)
            out += value[:8].ljust(8 if wire == FIXED64 else 4, b"\0")
    return bytes(out)


def messages(message):
    yield message
    for _, _, value in message.fields:
        if isinstance(value, Message):
            yield from messages(value)


def copy(value):
    if not isinstance(value, Message):
        return value
    return Message(value.kind, [[n, w, copy(v)] for n, w, v in value.fields])


def mutate(model, chance, lies):
    """Changes one place."""
    all_messages = [m for m in messages(model) if m.fields]
    if not all_messages:
        return
    message = chance.choice(all_messages)
    at = chance.randrange(len(message.fields))
    field = message.fields[at]
    kind = chance.randrange(14)
    if kind == 0:
        del message.fields[at]
    elif kind == 1:
        times = chance.choice([1, 2, 100])
        message.fields[at:at] = [[field[0], field[1], copy(field[2])] for _ in range(times)]
    elif kind == 2:
        other = chance.choice(all_messages)
        other.fields.insert(chance.randrange(len(other.fields) + 1), [field[0], field[1], copy(field[2])])
    elif kind == 3:
        field[0] = chance.choice([1, 2, 3, 4, 5, 7, 13, 20, 25, 100, 2**29 - 1])
    elif kind == 4:
        field[1] = chance.choice([VARINT, FIXED64, BYTES, FIXED32, START, END, 6, 7])
    elif kind == 5 and field[1] == VARINT:
        field[2] = chance.choice(EDGES)
    elif kind == 6 and field[1] == VARINT:
        # Longer than a varint may be, or longer than it need be.
        field[2] = bytes([255] * chance.choice([9, 10, 20]) + [1]) if chance.random() < 0.5 else b"\x80\x80\x80\x00"
    elif kind == 7 and field[1] == BYTES:
        lies[id(field)] = chance.choice([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1])
    elif kind == 8 and isinstance(field[2], (bytes, bytearray)):
        field[2] = chance.choice(TEXTS)
    elif kind == 9 and isinstance(field[2], (bytes, bytearray)) and field[2]:
        data = bytearray(field[2])
        for _ in range(chance.randrange(1, 5)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        field[2] = bytes(data[: chance.choice([len(data), len(data) // 2, len(data) - 1])])
    elif kind == 10 and isinstance(field[2], Message):
        # A message in itself, some times over.
        inner = field[2]
        for _ in range(chance.choice([1, 3, 40, 120])):
            inner = Message(inner.kind, [[field[0], BYTES, inner]])
        field[2] = inner
    elif kind == 11:
        chance.shuffle(message.fields)
    elif kind == 12:
        message.fields.append([chance.choice([50, 77, 2**29 - 1]), VARINT, chance.choice(EDGES)])
    elif kind == 13 and isinstance(field[2], Message):
        other = chance.choice(all_messages)
        field[2] = copy(other)


def limited():
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))


def run(command):
    """What is wrong with how a command ended, or None."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS * WAIT, preexec_fn=limited)
    except subprocess.TimeoutExpired:
        return f"longer than {SECONDS * WAIT} s"
    # Workers have the same limits.
    if done.returncode == -signal.SIGXCPU or f"signal {signal.SIGXCPU:d}".encode() in done.stderr:
        return f"more than {SECONDS} s of computing"
    if done.returncode < 0 or done.returncode == PANIC or b"panicked" in done.stderr:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [""]
        return f"code {done.returncode}: {lines[0][:200]}"
    return None


def check(tool, folder):
    """`check` has a worker a file, whose end it reports itself: a signal is in its findings."""
    command = [tool, "check", folder, "--json", "-q", "--timeout", str(SECONDS), "--memory", str(MEMORY >> 20)]
    done = subprocess.run(command, capture_output=True, timeout=SECONDS * WAIT * FOLDER)
    if done.returncode not in (0, 1):
        return f"code {done.returncode}: {done.stderr.decode(errors='replace')[:200]}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tool", type=Path, required=True, help="the program onnx-bnnprune")
    parser.add_argument("--models", type=Path, default=ROOT / "fixtures", help="where models are taken from")
    parser.add_argument("--count", type=int, default=1000, help="how many files")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first file")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--keep", type=Path, default=Path("mutants"), help="where bad files are kept")
    parser.add_argument("--work", type=Path, required=True, help="a scratch folder")
    args = parser.parse_args()
    tool = args.tool.resolve()
    # Where scripts/setup_onnxruntime.py puts it.
    os.environ.setdefault("ORT_DYLIB_PATH", str(ROOT / ".onnxruntime"))
    paths = sorted(p for p in args.models.rglob("*.onnx") if p.stat().st_size < 1 << 18)
    models = [(p, decode("Model", p.read_bytes())) for p in paths]
    bad = 0

    def say(path, what, why):
        nonlocal bad
        bad += 1
        args.keep.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            (args.keep / path.name).write_bytes(path.read_bytes())
        print(f"{path.name}: {what}: {why}", flush=True)

    begin = time.monotonic()
    with ThreadPoolExecutor(args.jobs) as pool:
        for first in range(args.seed, args.seed + args.count, FOLDER):
            folder = args.work / f"mutants{first}"
            folder.mkdir(parents=True, exist_ok=True)
            files = []
            for seed in range(first, min(first + FOLDER, args.seed + args.count)):
                chance = random.Random(seed)
                model = copy(chance.choice(models)[1])
                lies = {}
                for _ in range(chance.randrange(1, 5)):
                    mutate(model, chance, lies)
                path = folder / f"{seed}.onnx"
                path.write_bytes(encode(model, lies))
                files.append(path)
            for what, arguments in [("inspect", ["inspect"]), ("eliminate", ["--method", "none", "--dry-run", "-q"])]:
                extra = [] if what == "inspect" else [folder / "out.onnx"]
                command = [[tool, arguments[0], f] if what == "inspect" else [tool, f, *extra, *arguments] for f in files]
                for path, why in zip(files, pool.map(run, command)):
                    if why:
                        say(path, what, why)
            why = check(tool, folder)
            if why:
                say(folder, "check", why)
            for path in files:
                path.unlink()
            folder.rmdir()
    print(f"{args.count} files of {len(models)} models in {time.monotonic() - begin:.0f} s: {bad} bad")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
