#!/usr/bin/env python3
"""Latency of networks in the form `ops` beside Larq Compute Engine's interpreter, in the same process.

    python3.11 -m venv .venv-larq
    .venv-larq/bin/pip install larq larq-compute-engine "tensorflow-cpu==2.16.*" "tf_keras==2.16.*" onnx onnxruntime
    .venv-larq/bin/python scripts/deployment/larq_engine.py vgg11:VGG11.ops.onnx ... --library target/release/libonnx_bnnprune_ops.so

The same layers are built in Larq (NHWC, padded with ones, which its engine does fastest), with random weights, and converted by
its converter: nin, vgg11 or resnet18, as `scripts/networks/make.py` makes them at full width. Runs of both take turns.
"""

import argparse
import os
from pathlib import Path

os.environ.update(TF_USE_LEGACY_KERAS="1", CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3")

import larq
import larq_compute_engine as lce
import numpy as np
import tensorflow as tf
from larq_compute_engine.tflite.python.interpreter import Interpreter

from latency import interleaved, session

layers = tf.keras.layers


def binary(x, filters, kernel, stride=1):
    return larq.layers.QuantConv2D(
        filters, kernel, stride, "same", pad_values=1.0, input_quantizer="ste_sign", kernel_quantizer="ste_sign",
        kernel_constraint="weight_clip", use_bias=False,
    )(x)


def classify(x):
    return layers.Dense(10)(layers.GlobalAveragePooling2D()(x))


def nin(x):
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(192, 5, padding="same")(x)))
    for block in [(160, 1), (96, 1), layers.MaxPooling2D, (192, 5), (192, 1), (192, 1), layers.AveragePooling2D, (192, 3), (192, 1)]:
        if isinstance(block, tuple):
            x = layers.ReLU()(binary(layers.BatchNormalization()(x), *block))
        else:
            x = block(3, 2, "same")(x)
    return layers.GlobalAveragePooling2D()(layers.Conv2D(10, 1)(layers.BatchNormalization()(x)))


def vgg11(x):
    x = layers.BatchNormalization()(layers.MaxPooling2D(2)(layers.Conv2D(64, 3, padding="same")(x)))
    for filters, pooled in [(128, True), (256, False), (256, True), (512, False), (512, True), (512, False), (512, True)]:
        x = binary(x, filters, 3)
        x = layers.BatchNormalization()(layers.MaxPooling2D(2)(x) if pooled else x)
    return classify(x)


def resnet18(x):
    x = layers.BatchNormalization()(layers.Conv2D(64, 3, padding="same", use_bias=False)(x))
    for filters in [64, 128, 256, 512]:
        for _ in range(4):
            stride = 1 if x.shape[-1] == filters else 2
            shortcut = x
            if stride == 2:
                shortcut = layers.Conv2D(filters, 1, use_bias=False)(layers.AveragePooling2D(2)(x))
                shortcut = layers.BatchNormalization()(shortcut)
            x = layers.BatchNormalization()(binary(x, filters, 3, stride)) + shortcut
    return classify(x)


NETWORKS = {"nin": nin, "vgg11": vgg11, "resnet18": resnet18}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="+", metavar="NETWORK:OPS.onnx", help=f"NETWORK is one of {', '.join(NETWORKS)}")
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    tf.random.set_seed(0)
    print("| network | threads | Larq Compute Engine | operators | times as fast (medians) | fastest runs |")
    print("|---|---|---|---|---|---|")
    for pair in arguments.pairs:
        name, ops = pair.split(":", 1)
        image = layers.Input((32, 32, 3))
        file = lce.convert_keras_model(tf.keras.Model(image, NETWORKS[name](image)))
        for threads in arguments.threads:
            other, ours = Interpreter(file, num_threads=threads), session(ops, threads, arguments.library)
            x = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
            turned, feed = np.ascontiguousarray(x.transpose(0, 2, 3, 1)), {ours.get_inputs()[0].name: x}
            found = interleaved(arguments.runs, lambda: other.predict(turned, verbose=0), lambda: ours.run(None, feed))
            (median, least), (our_median, our_least) = found
            print(
                f"| {name} | {threads} | {median:.3f} ms | {our_median:.3f} ms | {median / our_median:.1f} "
                f"| {least:.3f} → {our_least:.3f} ms ({least / our_least:.1f}) |",
                flush=True,
            )


if __name__ == "__main__":
    main()
