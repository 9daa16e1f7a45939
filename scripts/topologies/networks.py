"""The table of networks, and what makes their random parameters non-degenerate."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torchvision.models import resnet

import binaries
import floats


@dataclass(frozen=True)
class Network:
    """A topology and the size of its input [3, size, size]."""

    make: Callable[[], nn.Module]
    size: int = 32


NETWORKS: dict[str, Network] = {
    "nin": Network(binaries.nin),
    "nin-float": Network(floats.float_nin),
    "vgg": Network(partial(floats.float_vgg, False)),
    "vgg-bn": Network(partial(floats.float_vgg, True)),
    "vgg-binary": Network(binaries.binary_vgg),
    "resnet18": Network(partial(floats.float_resnet, resnet.BasicBlock, [2, 2, 2, 2])),
    "resnet18-binary": Network(binaries.binary_resnet18),
    "resnet50": Network(partial(floats.float_resnet, resnet.Bottleneck, [3, 4, 6, 3], 16)),
    "resnext": Network(floats.resnext),
    "se-resnet": Network(partial(floats.se_resnet, False)),
    "se-resnet-linear": Network(partial(floats.se_resnet, True)),
    "bi-real": Network(binaries.bi_real, 64),
    "reactnet": Network(binaries.reactnet),
    "densenet": Network(floats.float_densenet),
    "densenet-binary": Network(binaries.binary_densenet),
    "meliusnet": Network(binaries.meliusnet),
    "mobilenet-v1": Network(floats.mobilenet_v1),
    "mobilenet-v1-binary": Network(binaries.binary_mobilenet),
    "mobilenet-v2": Network(floats.mobilenet_v2),
    "mobilenet-v3": Network(floats.mobilenet_v3, 64),
    "shufflenet-v2": Network(floats.shufflenet_v2),
    "squeezenet": Network(floats.squeezenet_narrow),
    "inception-v1": Network(floats.inception_v1),
    "inception-v3": Network(floats.inception_v3),
    "unet-transposed": Network(partial(floats.UNet, True)),
    "unet-upsample": Network(partial(floats.UNet, False)),
    "efficientnet": Network(floats.efficientnet_narrow),
    "efficientnet-v2": Network(floats.efficientnet_v2),
    "regnet-x": Network(partial(floats.regnet_narrow, False)),
    "regnet-y": Network(partial(floats.regnet_narrow, True)),
    "mlp": Network(floats.mlp, 8),
    "mlp-binary": Network(binaries.binary_mlp, 8),
}

# At the width they are used with, to time them; not part of the exactness table.
TIMED: dict[str, Network] = {
    "nin": Network(partial(binaries.nin, 96)),
    "vgg": Network(partial(floats.float_vgg, True, (64, 128, 256, 256, 512, 512))),
    "resnet18": Network(floats.wide_resnet18, 64),
}


def build(network: Network, seed: int) -> nn.Module:
    """The network in evaluation mode, with parameters that make every channel matter.

    Biases are random. BatchNormalization's statistics are those of random inputs, then moved at
    random, so that activations neither vanish nor explode; a quarter of its factors is negative.
    """
    torch.manual_seed(seed)
    model = network.make()
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.ConvTranspose2d)):
                if module.bias is not None:
                    module.bias.normal_(0, 0.2)
            if isinstance(module, nn.PReLU):
                module.weight.uniform_(-0.3, 0.6)
        for norm in norms:
            sign = torch.where(torch.rand_like(norm.weight) < 0.25, -1.0, 1.0)
            norm.weight.copy_(sign * torch.empty_like(norm.weight).uniform_(0.5, 1.5))
            norm.bias.normal_(0, 0.3)
            norm.momentum = None
            norm.reset_running_stats()
        model.train()
        for _ in range(2):
            model(torch.randn(8, 3, network.size, network.size))
        for norm in norms:
            norm.running_mean += 0.3 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
            norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.5, 1.5)
    return model.eval()
