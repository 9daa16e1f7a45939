#!/usr/bin/env python3
"""From a Brevitas network to a pruned QONNX file for FINN.

    pip install torch brevitas qonnx onnxoptimizer onnxscript
    python examples/python/brevitas_to_finn.py images/ pruned.onnx

`images/` holds a folder per class of images of 32 x 32 pixels. Takes the trained CNV of 1 bit that
Brevitas comes with (CIFAR-10), exports it as QONNX, prunes it, and writes QONNX: quantisers stay
BipolarQuant nodes, weights ±1 with their scale. FINN folds channels over PE and SIMD, so filters stay in
multiples of 16.
"""

import sys
import tempfile
from pathlib import Path

import onnx
import torch
from brevitas.export import export_qonnx
from brevitas_examples.bnn_pynq.models import model_with_cfg

import onnx_bnnprune


def main(images: str, output: str) -> None:
    """Exports, prunes, verifies."""
    network, _ = model_with_cfg("cnv_1w1a", pretrained=True)
    network.eval()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "cnv.onnx")
        export_qonnx(network, torch.zeros(1, 3, 32, 32), export_path=path)
        result = onnx_bnnprune.prune(
            path,
            images,
            # As in Brevitas' own training: pixels from 0 to 1; the network shifts them to ±1 itself.
            scale="1/255",
            cost="macs",
            round_to=16,
            max_drop=1.0,
            save_masked=str(Path(folder) / "masked.onnx"),
        )
        # The claim, once more and from outside.
        report = onnx_bnnprune.verify(str(Path(folder) / "masked.onnx"), result.path, images)
        if not report["passed"]:
            raise SystemExit("; ".join(report["failures"]))
    result.save(output)
    quantisers = [node for node in onnx.load(output).graph.node if node.op_type == "BipolarQuant"]
    print(f"{result}: {output}, QONNX with {len(quantisers)} BipolarQuant nodes")
    print("next: qonnx-cleanup, then finn.transformation.qonnx.ConvertQONNXtoFINN")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: brevitas_to_finn.py IMAGES OUT.onnx")
    main(*sys.argv[1:])
