"""Random masks for what `onnx-bnnprune inspect` lists."""

import json
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

import layers

Masks = dict[str, list[int]]


@dataclass(frozen=True)
class Inspected:
    """Layers that can be masked, by name with their number of filters, and who is coupled."""

    filters: dict[str, int]
    free: set[str]


def inspect(
    binary: Path, path: Path, model: onnx.ModelProto, outputs_too: bool = False
) -> Inspected:
    """Layers that the tool lists; `outputs_too` with those that write into the model's outputs.

    `prunable` in the tool's list is about what can be learned, so float layers are not; masks
    may name them all the same. `free` layers are alone in their group, and no grouped convolution
    ties their filters.
    """
    done = subprocess.run(
        [binary, "inspect", path, "--json"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"inspect: exit code {done.returncode}: {done.stderr.strip()}")
    found = json.loads(done.stdout)
    sites = layers.sites(model)
    filters, tied = {}, set()
    for layer in found["layers"]:
        name = layer["name"]
        site = layers.named(sites, name)
        last = layers.writes_output(model, sites, site)
        if layer["filters"] > 1 and (outputs_too or not last):
            filters[name] = layer["filters"]
        if layers.tied_by_groups(model, sites, site):
            tied.add(name)
    groups: dict[str, int] = {}
    for group in found["groups"]:
        for name in group["layers"]:
            groups[name] = max(groups.get(name, 0), len(group["layers"]))
    alone = {name for name in filters if groups.get(name, 1) == 1}
    return Inspected(filters, alone - tied)


def draw(filters: dict[str, int], share: float, seed: str) -> Masks:
    """Masks this share of each layer's filters, at least one and never all; seeded by a text."""
    random = np.random.default_rng(zlib.crc32(f"{seed}/{share}".encode()))
    return {
        name: sorted(
            random.choice(count, min(max(round(share * count), 1), count - 1), replace=False).tolist()
        )
        for name, count in filters.items()
    }


def save(masks: Masks, filters: dict[str, int], path: Path) -> None:
    """Writes a masks file."""
    path.write_text(
        json.dumps(
            {
                "format": "onnx-bnnprune-masks/1",
                "layers": {
                    name: {"filters": filters[name], "pruned": pruned}
                    for name, pruned in masks.items()
                },
            }
        )
    )
