"""Writes the Larq fixtures, exported with tf2onnx (NHWC islands, Pad of 1, asymmetric SAME).

    python scripts/dialects/make_larq.py fixtures/dialects
"""

import sys
from pathlib import Path

import larq as lq
import numpy as np
import tensorflow as tf
import tf2onnx

import common


def network(quantizer: str, padding: dict, strides: int = 1) -> tf.keras.Model:
    layers = [
        tf.keras.layers.Conv2D(6, 3, padding="same", use_bias=False, input_shape=(8, 8, 3)),
        tf.keras.layers.BatchNormalization(),
    ]
    for s in (1, strides):
        layers += [
            lq.layers.QuantConv2D(8, 3, strides=s, input_quantizer=quantizer, kernel_quantizer="ste_sign",
                                  kernel_constraint="weight_clip", use_bias=False, **padding),
            tf.keras.layers.BatchNormalization(),
        ]
    layers += [tf.keras.layers.GlobalAveragePooling2D(), tf.keras.layers.Dense(10)]
    return tf.keras.Sequential(layers)


def dense() -> tf.keras.Model:
    return tf.keras.Sequential([
        tf.keras.layers.Flatten(input_shape=(8, 8, 3)), tf.keras.layers.Dense(16), tf.keras.layers.BatchNormalization(),
        lq.layers.QuantDense(24, input_quantizer="ste_sign", kernel_quantizer="ste_sign", use_bias=False),
        tf.keras.layers.BatchNormalization(),
        lq.layers.QuantDense(16, input_quantizer="ste_sign", kernel_quantizer="ste_sign", use_bias=False),
        tf.keras.layers.BatchNormalization(), tf.keras.layers.Dense(10),
    ])


def main(folder: Path) -> None:
    tf.random.set_seed(0)
    same = {"padding": "same"}
    rows = {
        "larq_ste_sign": network("ste_sign", same),
        "larq_approx_sign": network("approx_sign", same),
        "larq_same_one": network("ste_sign", {"padding": "same", "pad_values": 1.0}),
        "larq_stride2": network("ste_sign", same, 2),
        "larq_dense": dense(),
    }
    for name, net in rows.items():
        rng = np.random.default_rng(0)
        for layer in net.layers:
            if isinstance(layer, tf.keras.layers.BatchNormalization):
                n = layer.get_weights()[0].shape
                layer.set_weights([rng.uniform(0.5, 1.5, n), rng.normal(0, 0.3, n), rng.normal(0, 0.3, n), rng.uniform(0.5, 2, n)])
        path = folder / f"{name}.tf2onnx.onnx"
        spec = (tf.TensorSpec((None, 8, 8, 3), tf.float32, name="input"),)
        try:
            tf2onnx.convert.from_keras(net, input_signature=spec, opset=13, output_path=str(path))
        except Exception as e:
            print(f"{name}: {type(e).__name__}: {str(e).splitlines()[:1]}", file=sys.stderr)
            continue
        expect = {"binarizer": "sign-add-sign", "zero": 1, "scale": "folded", "binary": 2,
                  "dialect": "tf2onnx (Larq, Keras)", "scale_or_folded": True}
        if name == "larq_dense":  # BatchNormalization becomes MatMul, Mul, Add
            expect["scale"] = "one"
        if name == "larq_same_one":
            expect["padding"] = [1.0, 1.0]
        common.finish(path, expect, shape=(1, 8, 8, 3))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
