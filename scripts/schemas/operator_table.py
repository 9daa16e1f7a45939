#!/usr/bin/env python3
"""Writes the table of ONNX's operators that `onnx-bnnprune check` holds nodes against.

    .venv/bin/pip install -r scripts/requirements.txt
    .venv/bin/python scripts/schemas/operator_table.py > src/operators/versions.tsv

One row for each version of each operator of the default domain, from the schemas in the Python
package `onnx`: operator, opset since when, inputs, outputs, attributes. Numbers are `least..most`,
`*` for any; `-` for an operator that the version withdraws. An attribute is `name:type`, with `!`
where a node needs it.
"""

import onnx
from onnx import defs


def count(least: int, most: int) -> str:
    """`2..3`; the schemas write "any number" as the largest 32-bit integer."""
    return f"{least}..{'*' if most >= 2**31 - 1 else most}"


def row(schema: defs.OpSchema) -> str:
    """One line of the table."""
    head = [schema.name, str(schema.since_version)]
    if schema.deprecated:
        return "\t".join([*head, "-", "-", ""])
    attributes = [
        f"{name}:{attribute.type.name.lower()}{'!' if attribute.required else ''}"
        for name, attribute in sorted(schema.attributes.items())
    ]
    counts = [
        count(schema.min_input, schema.max_input),
        count(schema.min_output, schema.max_output),
    ]
    return "\t".join([*head, *counts, " ".join(attributes)])


def main() -> None:
    """Prints the table."""
    print(f"# Written by scripts/schemas/operator_table.py from onnx {onnx.__version__}.")
    schemas = [s for s in defs.get_all_schemas_with_history() if s.domain == ""]
    for schema in sorted(schemas, key=lambda s: (s.name, s.since_version)):
        print(row(schema))


if __name__ == "__main__":
    main()
