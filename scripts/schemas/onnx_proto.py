#!/usr/bin/env python3
"""Proves proto/onnx.proto complete against the Python package `onnx`.

    .venv/bin/pip install -r scripts/requirements.txt
    .venv/bin/python scripts/schemas/onnx_proto.py

Compiles the schema with grpcio-tools' protoc and compares it with the descriptors that
`onnx` carries: each message, each field's name, number, type, label, packing, default and
oneof, and each enum value, in both directions. Prints the differences and exits with 1 if
there are any.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Iterator

import grpc_tools
import onnx
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from grpc_tools import protoc
from onnx import onnx_data_pb2, onnx_ml_pb2, onnx_operators_ml_pb2

SCHEMA = Path(__file__).resolve().parents[2] / "proto" / "onnx.proto"

# Kind and full name of each element, such as "field .onnx.NodeProto.name", and what it is.
Facts = dict[str, str]


def main() -> int:
    """Compares the schema with the package; returns the exit code."""
    arguments = parse_arguments()
    ours = facts([compile_schema(arguments.schema)])
    theirs = facts(installed_schema())
    differences = list(compare(ours, theirs))
    for line in differences:
        print(line)
    if differences:
        count = f"{len(differences)} difference(s)"
        print(f"{arguments.schema}: {count} from onnx {onnx.__version__}", file=sys.stderr)
        return 1
    print(f"{arguments.schema}: complete, {len(ours)} elements as in onnx {onnx.__version__}")
    return 0


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Compares our ONNX schema with the package onnx.")
    parser.add_argument("schema", nargs="?", type=Path, default=SCHEMA, help="default: %(default)s")
    return parser.parse_args()


def compile_schema(path: Path) -> FileDescriptorProto:
    """Compiles a `.proto` file without imports. Exits with protoc's message if it is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "descriptors"
        include = Path(grpc_tools.__file__).parent / "_proto"
        options = [f"-I{path.parent}", f"-I{include}", f"--descriptor_set_out={output}"]
        status = protoc.main(["protoc", *options, str(path)])
        if status != 0:
            sys.exit(f"{path}: protoc cannot compile it")
        (file,) = FileDescriptorSet.FromString(output.read_bytes()).file
    return file


def installed_schema() -> list[FileDescriptorProto]:
    """The descriptors in the installed package `onnx`."""
    files = []
    for module in (onnx_ml_pb2, onnx_operators_ml_pb2, onnx_data_pb2):
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        files.append(file)
    return files


def facts(files: list[FileDescriptorProto]) -> Facts:
    """Lists every element of the schema with what matters on the wire and in the API."""
    found: Facts = {}
    for file in files:
        scope = f".{file.package}"
        found[f"file {scope}"] = f"syntax {file.syntax or 'proto2'}"
        for message in file.message_type:
            found.update(message_facts(scope, message))
        for enum in file.enum_type:
            found.update(enum_facts(scope, enum))
    return found


def message_facts(scope: str, message: DescriptorProto) -> Iterator[tuple[str, str]]:
    """A message, its fields, and everything nested in it."""
    name = f"{scope}.{message.name}"
    yield f"message {name}", ""
    oneofs = [oneof.name for oneof in message.oneof_decl]
    for field in message.field:
        yield f"field {name}.{field.name}", field_facts(field, oneofs)
    for nested in message.nested_type:
        yield from message_facts(name, nested)
    for enum in message.enum_type:
        yield from enum_facts(name, enum)


def field_facts(field: FieldDescriptorProto, oneofs: list[str]) -> str:
    """A field's number, label, type, packing, default value and oneof in one line."""
    kind = field.type_name or FieldDescriptorProto.Type.Name(field.type)
    label = FieldDescriptorProto.Label.Name(field.label)
    packed = " packed" if field.options.packed else ""
    default = f" default {field.default_value}" if field.HasField("default_value") else ""
    oneof = f" in oneof {oneofs[field.oneof_index]}" if field.HasField("oneof_index") else ""
    return f"= {field.number} {label} {kind}{packed}{default}{oneof}"


def enum_facts(scope: str, enum: EnumDescriptorProto) -> Iterator[tuple[str, str]]:
    """An enum and its values."""
    name = f"{scope}.{enum.name}"
    yield f"enum {name}", ""
    for value in enum.value:
        yield f"value {name}.{value.name}", f"= {value.number}"


def compare(ours: Facts, theirs: Facts) -> Iterator[str]:
    """One line for each element that only one side has, or that differs."""
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours:
            yield f"missing: {name} {theirs[name]}".rstrip()
        elif name not in theirs:
            yield f"not in onnx: {name} {ours[name]}".rstrip()
        elif ours[name] != theirs[name]:
            yield f"differs: {name}: here {ours[name]}, in onnx {theirs[name]}"


if __name__ == "__main__":
    sys.exit(main())
