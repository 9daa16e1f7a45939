"""Types of the options, for type checkers: those of the command, by their names with underscores.

``onnx-bnnprune --help`` says what each does. ``python/tests`` holds this list against the command.
"""

from __future__ import annotations

import os
from typing import Any, Literal, Mapping, Sequence, TypedDict, Union

_Path = Union[str, "os.PathLike[str]"]
_Size = Union[int, str, tuple[int, int]]
_Number = Union[float, str]

# What a network can be written as.
Form = Literal["onnx", "qonnx", "integer", "packed", "ops"]


class Shape(TypedDict, total=False):
    """Sizes of what the file leaves free."""

    input_shape: Union[Mapping[str, Sequence[int]], str]
    dim: Union[Mapping[str, int], str]


class Images(TypedDict, total=False):
    """How pixels become the model's input."""

    classes: Union[_Path, Sequence[str]]
    preprocessor: Union[_Path, Mapping[str, Any]]
    scale: _Number
    mean: Sequence[float]
    std: Sequence[float]
    channels: Literal["rgb", "bgr", "gray"]
    resize: _Size
    crop: _Size
    images_mb: int
    skip_bad: bool


class LearningImages(Images, total=False):
    """How images to learn from vary, and what is split off."""

    synthetic_images: int
    val_split: float
    flip: bool
    crop_padding: int
    random_crop: float
    colour_jitter: float


class Runtime(TypedDict, total=False):
    """Who runs models, and what they may use."""

    runtime: Literal["ort", "tract", "auto"]
    ort_lib: _Path
    ops_library: _Path
    timeout: float
    memory: int
    in_process: bool


class Checkpoint(TypedDict, total=False):
    """Where learning is saved."""

    checkpoint: _Path
    checkpoint_every: float


class Tuning(TypedDict, total=False):
    """How masks and weights are learned."""

    cost: Literal["filters", "macs", "bytes"]
    max_share: float
    distill: float
    stage_images: int
    mask_epochs: int
    main_epochs: int
    final_epochs: int
    mask_start: str
    mask_lr: float
    main_lr: float
    optimizer: Literal["adam", "sgd", "bop"]
    lr_schedule: Literal["cosine", "exponential", "constant"]
    gradients: Literal["f32", "int8"]
    batch_size: int
    cache_mb: int
    cache_disk_mb: int
    cache_dir: _Path
    views: int


class Config(TypedDict, total=False):
    """Options in a file."""

    config: Union[_Path, Mapping[str, Any]]
    save_config: _Path
    unset: Union[str, Sequence[str]]


class Removal(Shape, Runtime, Config, total=False):
    """Options of removing, whoever chose the filters."""

    keep: Union[str, Sequence[str]]
    round_to: int
    residual: Literal["coupled", "scatter"]
    normalise: bool
    inference_mode: bool
    to: Form
    seed: int
    threads: int
    report: _Path
    html: _Path
    in_place: bool
    save_masked: _Path


class Elimination(Removal, Images, total=False):
    """Options of ``eliminate``."""


class Application(Removal, Images, total=False):
    """Options of ``apply_masks``."""

    val_split: float
    max_drop: Union[float, Literal["none"]]
    removal: Literal["drop", "fold"]
    save_masks: _Path


class Prune(Removal, LearningImages, Tuning, Checkpoint, total=False):
    """Options of ``prune``."""

    method: str
    ratio: float
    max_drop: Union[float, Literal["none"]]
    alpha: float
    like: Union[_Path, Mapping[str, Any]]
    masks: Union[_Path, Mapping[str, Any]]
    save_masks: _Path
    removal: Literal["drop", "fold"]
    dry_run: bool


class Convert(Shape, Images, Runtime, total=False):
    """Options of ``convert``."""

    seed: int
    report: _Path
    html: _Path
    in_place: bool


class Train(Shape, LearningImages, Runtime, Checkpoint, Config, total=False):
    """Options of ``train``."""

    epochs: int
    lr: float
    warm_up: int
    lr_schedule: Literal["cosine", "exponential", "constant"]
    optimizer: Literal["adam", "sgd", "bop"]
    gradients: Literal["f32", "int8"]
    batch_size: int
    seed: int
    threads: int
    report: _Path
    html: _Path
    in_place: bool


class Compare(Shape, LearningImages, Tuning, Runtime, Checkpoint, Config, total=False):
    """Options of ``compare``."""

    methods: Sequence[str]
    ratios: Sequence[float]
    seeds: int
    only: str
    keep: Union[str, Sequence[str]]
    threads: int
    report: _Path
    html: _Path


class Sweep(Shape, LearningImages, Tuning, Runtime, total=False):
    """Options of ``sweep``."""

    checkpoint_every: float
    keep: Union[str, Sequence[str]]
    threads: int


class Evaluate(Shape, Images, Runtime, total=False):
    """Options of ``evaluate``."""

    threads: int
    batch: int
    runs: int
    warm_up: int


class Verify(Shape, Images, Runtime, total=False):
    """Options of ``verify``."""

    atol: float
    rtol: float
    seed: int


class Check(Shape, Runtime, total=False):
    """Options of ``check``."""

    baseline: _Path
    write_baseline: _Path
    junit: _Path
    seed: int


class Inspect(Shape, total=False):
    """Options of ``inspect``."""
