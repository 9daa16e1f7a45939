"""Networks in float: torchvision's models made narrow, and short ones of our own."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import densenet, efficientnet, inception, mobilenetv2
from torchvision.models import mobilenetv3, regnet, resnet, shufflenetv2, squeezenet, vgg
from torchvision.models.googlenet import BasicConv2d, Inception
from torchvision.ops import Conv2dNormActivation, SqueezeExcitation

CLASSES = 10


def float_nin(width: int = 24) -> nn.Module:
    """Network in network: 5x5 and 1x1 convolutions, no fully connected layer."""

    def block(inputs: int, filters: int, kernel: int) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for count, (channels, size) in enumerate([(inputs, kernel), (filters, 1), (filters, 1)]):
            layers += [nn.Conv2d(channels, filters, size, padding=size // 2), nn.ReLU()]
            if count == 2:
                layers.append(nn.Dropout(0.5))
        return layers

    return nn.Sequential(
        *block(3, width, 5),
        nn.MaxPool2d(3, 2, padding=1),
        *block(width, width, 5),
        nn.AvgPool2d(3, 2, padding=1),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, CLASSES, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def float_vgg(norm: bool, widths: tuple[int, ...] = (16, 24, 32, 32, 40, 40)) -> nn.Module:
    """torchvision's VGG-11, narrow, with the usual three fully connected layers."""
    a, b, c, d, e, f = widths
    config = [a, "M", b, "M", c, d, "M", e, f, "M"]
    features = vgg.make_layers(config, batch_norm=norm)
    model = vgg.VGG(features, num_classes=CLASSES, init_weights=False)
    model.avgpool = nn.AdaptiveAvgPool2d(2)
    model.classifier = nn.Sequential(
        nn.Linear(f * 4, 48), nn.ReLU(True), nn.Dropout(), nn.Linear(48, 32), nn.ReLU(True),
        nn.Dropout(), nn.Linear(32, CLASSES),
    )
    return model


class _NarrowResNet(resnet.ResNet):
    """torchvision's ResNet with `1/divide` of the filters behind the stem."""

    divide = 8

    def _make_layer(self, block, planes, *args, **kwargs):
        return super()._make_layer(block, planes // self.divide, *args, **kwargs)


def float_resnet(block: type, depths: list[int], divide: int = 8) -> nn.Module:
    """ResNet of basic blocks or bottlenecks, the stem as wide as its first stream."""
    kind = type("_Resnet", (_NarrowResNet,), {"divide": divide})
    model = kind(block, depths, num_classes=CLASSES)
    model.fc = nn.Linear(512 // divide * block.expansion, CLASSES)
    return model


def wide_resnet18() -> nn.Module:
    """ResNet-18 at its own width, for latency."""
    return resnet.resnet18(num_classes=CLASSES)


def resnext() -> nn.Module:
    """Grouped 3x3 convolutions inside bottlenecks."""
    kind = type("_ResNeXt", (_NarrowResNet,), {"divide": 4})
    model = kind(
        resnet.Bottleneck, [1, 1, 1, 1], num_classes=CLASSES, groups=4, width_per_group=32
    )
    model.fc = nn.Linear(512, CLASSES)
    return model


class _SEBlock(nn.Module):
    """A basic block with squeeze and excitation before the addition."""

    def __init__(self, inputs: int, filters: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            Conv2dNormActivation(inputs, filters, 3, stride),
            Conv2dNormActivation(filters, filters, 3, activation_layer=None),
            SqueezeExcitation(filters, filters // 4),
        )
        self.shortcut = (
            nn.Identity()
            if stride == 1 and inputs == filters
            else Conv2dNormActivation(inputs, filters, 1, stride, activation_layer=None)
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


class _LinearSE(nn.Module):
    """Squeeze and excitation as first published: two fully connected layers and a view."""

    def __init__(self, channels: int):
        super().__init__()
        self.down = nn.Linear(channels, channels // 4)
        self.up = nn.Linear(channels // 4, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = x.mean((2, 3))
        gate = torch.sigmoid(self.up(F.relu(self.down(gate))))
        return x * gate.view(x.shape[0], x.shape[1], 1, 1)


def se_resnet(linear: bool) -> nn.Module:
    """SE-ResNet; the gate as 1x1 convolutions, or as fully connected layers."""
    blocks = [_SEBlock(16, 16, 1), _SEBlock(16, 24, 2), _SEBlock(24, 24, 1), _SEBlock(24, 40, 2)]
    if linear:
        for block in blocks:
            gate = block.body[2]
            block.body[2] = _LinearSE(gate.fc1.in_channels)
    return nn.Sequential(
        Conv2dNormActivation(3, 16, 3), *blocks,
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, CLASSES),
    )


def float_densenet() -> nn.Module:
    """torchvision's DenseNet with a growth rate of 8."""
    return densenet.DenseNet(8, (3, 3, 3, 2), num_init_features=16, bn_size=3, num_classes=CLASSES)


def mobilenet_v1() -> nn.Module:
    """Depthwise and pointwise convolutions in turns."""
    layers: list[nn.Module] = [Conv2dNormActivation(3, 16, 3, 2)]
    shape = [(16, 24, 1), (24, 32, 2), (32, 32, 1), (32, 48, 2), (48, 48, 1), (48, 64, 1)]
    for inputs, filters, stride in shape:
        layers.append(Conv2dNormActivation(inputs, inputs, 3, stride, groups=inputs))
        layers.append(Conv2dNormActivation(inputs, filters, 1))
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES)
    )


def mobilenet_v2() -> nn.Module:
    """torchvision's MobileNet-V2: inverted residuals with linear bottlenecks."""
    setting = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 2, 2], [6, 64, 2, 2], [6, 96, 1, 1]]
    return mobilenetv2.MobileNetV2(
        num_classes=CLASSES, width_mult=0.5, inverted_residual_setting=setting
    )


def mobilenet_v3() -> nn.Module:
    """torchvision's MobileNet-V3-small: gates with hard sigmoids, hard swish."""
    setting, last = mobilenetv3._mobilenet_v3_conf("mobilenet_v3_small", width_mult=0.5)
    return mobilenetv3.MobileNetV3(setting, 64, num_classes=CLASSES)


def shufflenet_v2() -> nn.Module:
    """torchvision's ShuffleNet-V2: split, concatenate, shuffle."""
    return shufflenetv2.ShuffleNetV2([2, 3, 2], [16, 32, 48, 64, 96], num_classes=CLASSES)


def squeezenet_narrow() -> nn.Module:
    """Fire modules: squeeze, then two kinds of convolution side by side."""
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
        squeezenet.Fire(24, 8, 16, 16), squeezenet.Fire(32, 8, 16, 16),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        squeezenet.Fire(32, 12, 24, 24), squeezenet.Fire(48, 12, 24, 24),
        nn.Dropout(0.5), nn.Conv2d(48, CLASSES, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )


def inception_v1() -> nn.Module:
    """torchvision's GoogLeNet blocks."""
    return nn.Sequential(
        BasicConv2d(3, 16, kernel_size=3, padding=1),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Inception(16, 8, 8, 12, 4, 8, 8),
        Inception(36, 12, 8, 16, 4, 8, 8),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Inception(44, 16, 12, 20, 4, 8, 8),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(52, CLASSES),
    )


class _Thin(inception.BasicConv2d):
    """Inception-V3's convolution at an eighth of the width, for both sides."""

    def __init__(self, inputs: int, filters: int, **options):
        super().__init__(inputs // 8, filters // 8, **options)


def inception_v3() -> nn.Module:
    """torchvision's Inception-V3 blocks: factorised kernels, nested branches, average pooling."""
    return nn.Sequential(
        inception.BasicConv2d(3, 24, kernel_size=3, stride=2, padding=1),
        inception.InceptionA(192, 32, conv_block=_Thin),
        inception.InceptionB(256, conv_block=_Thin),
        inception.InceptionC(736, 128, conv_block=_Thin),
        inception.InceptionD(768, conv_block=_Thin),
        inception.InceptionE(1280, conv_block=_Thin),
        nn.AdaptiveAvgPool2d(1), nn.Dropout(), nn.Flatten(), nn.Linear(256, CLASSES),
    )


class UNet(nn.Module):
    """Two levels down and up; `transposed` or bilinear upsampling; skip connections by Concat."""

    def __init__(self, transposed: bool, width: int = 8):
        super().__init__()
        self.down1 = self._double(3, width)
        self.down2 = self._double(width, 2 * width)
        self.bottom = self._double(2 * width, 4 * width)
        if transposed:
            self.up2: nn.Module = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
            self.up1: nn.Module = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
            wide2, wide1 = 4 * width, 2 * width
        else:
            self.up2 = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
            self.up1 = nn.Upsample(scale_factor=2, mode="nearest")
            wide2, wide1 = 6 * width, 3 * width
        self.join2 = self._double(wide2, 2 * width)
        self.join1 = self._double(wide1, width)
        self.head = nn.Conv2d(width, 2, 1)

    @staticmethod
    def _double(inputs: int, filters: int) -> nn.Module:
        return nn.Sequential(
            Conv2dNormActivation(inputs, filters, 3), Conv2dNormActivation(filters, filters, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.bottom(F.max_pool2d(b, 2))
        d = self.join2(torch.cat([self.up2(c), b], 1))
        e = self.join1(torch.cat([self.up1(d), a], 1))
        return self.head(e)


def efficientnet_narrow() -> nn.Module:
    """torchvision's EfficientNet-B0: inverted residuals with gates, SiLU."""
    setting, last = efficientnet._efficientnet_conf(
        "efficientnet_b0", width_mult=0.25, depth_mult=0.5
    )
    return efficientnet.EfficientNet(setting, 0.2, num_classes=CLASSES, last_channel=last)


def efficientnet_v2() -> nn.Module:
    """torchvision's fused and plain inverted residuals of EfficientNet-V2."""
    fused, plain = efficientnet.FusedMBConvConfig, efficientnet.MBConvConfig
    setting = [fused(1, 3, 1, 16, 16, 1), fused(4, 3, 2, 16, 24, 2), plain(4, 3, 2, 24, 32, 2)]
    return efficientnet.EfficientNet(
        setting, 0.2, num_classes=CLASSES, last_channel=64, norm_layer=partial(nn.BatchNorm2d)
    )


def regnet_narrow(gates: bool) -> nn.Module:
    """torchvision's RegNet X or Y: grouped bottlenecks, in Y with gates."""
    params = regnet.BlockParams.from_init_params(
        depth=6, w_0=24, w_a=12.0, w_m=2.0, group_width=8, se_ratio=0.25 if gates else None
    )
    return regnet.RegNet(params, num_classes=CLASSES, stem_width=16)


def mlp() -> nn.Module:
    """Fully connected layers with BatchNormalization."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(192, 64), nn.BatchNorm1d(64), nn.ReLU(),
        nn.Linear(64, 48), nn.GELU(), nn.Linear(48, 32), nn.BatchNorm1d(32), nn.Tanh(),
        nn.Linear(32, CLASSES),
    )
