"""A small network of every kind, for the suite that all of them pass."""

import dataclasses

import jax
import numpy as np

from reseg_jax import api
from reseg_jax.backbones.resnet import ResNet
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.networks.deconvnet import DeconvNetConfig
from reseg_jax.networks.deeplab import DeepLabConfig
from reseg_jax.networks.dilated import DilatedConfig
from reseg_jax.networks.fcn import FCNConfig
from reseg_jax.networks.frrn import FRRNConfig
from reseg_jax.networks.fusionnet import FusionNetConfig
from reseg_jax.networks.pspnet import PSPNetConfig
from reseg_jax.networks.refinenet import RefineNetConfig
from reseg_jax.networks.renet import ReNetConfig
from reseg_jax.networks.reseg import ReSegConfig
from reseg_jax.networks.segnet import SegNetConfig
from reseg_jax.networks.unet import UNetConfig

_VGG = VGG16(channels=(2, 3, 4, 5, 6), fc_channels=7)
_RESEG = ReSegConfig(
    num_classes=3,
    backbone=_VGG,
    preprocessing="torchvision",
    tap="conv2_1",
    patch_sizes=((1, 1),),
    units=(3,),
    upsample_sizes=((2, 2),),
    upsample_channels=(4,),
    dropout=0.25,
)

SMALL = {
    "reseg": _RESEG,
    "reseg, trained VGG with batch norm": dataclasses.replace(
        _RESEG, backbone=dataclasses.replace(_VGG, trainable=True, batch_norm=True)
    ),
    "reseg, frozen VGG with batch norm": dataclasses.replace(
        _RESEG, backbone=dataclasses.replace(_VGG, batch_norm=True)
    ),
    "reseg, no VGG": ReSegConfig.no_vgg(
        num_classes=3,
        patch_sizes=((2, 2),),
        units=(3,),
        upsample_sizes=((2, 2),),
        upsample_channels=(4,),
    ),
    "fcn, 8s": FCNConfig(
        num_classes=3,
        preprocessing="torchvision",
        backbone=dataclasses.replace(_VGG, trainable=True),
    ),
    "fcn, 16s, frozen VGG": FCNConfig(
        num_classes=3, preprocessing="torchvision", backbone=_VGG, upsample_stride=16
    ),
    "fcn, 32s, published geometry": FCNConfig.published(
        num_classes=3,
        preprocessing="torchvision",
        backbone=dataclasses.replace(_VGG, trainable=True),
        upsample_stride=32,
    ),
    "unet, valid": UNetConfig(num_classes=3, channels=(2, 3)),
    "unet, same, batch norm": UNetConfig(
        num_classes=3, channels=(2, 3, 4), padding="same", batch_norm=True
    ),
    "segnet, frozen VGG, Bayesian": SegNetConfig(
        num_classes=3, preprocessing="torchvision", backbone=_VGG
    ).bayesian(),
    "deconvnet": DeconvNetConfig(
        num_classes=3,
        preprocessing="torchvision",
        backbone=dataclasses.replace(
            _VGG, trainable=True, batch_norm=True, fc_padding="VALID", dropout=0.0
        ),
    ),
    "fusionnet": FusionNetConfig(num_classes=3, channels=(2, 3, 4)),
    "frrn": FRRNConfig(
        num_classes=3,
        encoder=((1, 4), (1, 5)),
        decoder=((1, 4),),
        channels=4,
        residual_channels=3,
    ),
    "refinenet": RefineNetConfig(
        num_classes=3,
        backbone=ResNet(depth=14, width=2, trainable=True),
        channels=(5, 4, 4, 3),
        poolings=2,
        output_units=1,
    ),
    "renet": ReNetConfig(
        num_classes=3,
        patch_sizes=((2, 2), (2, 1)),
        units=(3, 4),
        fc_channels=(5,),
        cell="mingru",  # a GRU's states saturate where no weight is negative
    ),
    "segnet, Basic, Bayesian": SegNetConfig.basic(num_classes=3, basic_channels=4).bayesian(),
    "dilated, front end": DilatedConfig(
        num_classes=3,
        preprocessing="torchvision",
        backbone=dataclasses.replace(
            _VGG, trainable=True, output_stride=8, padding="VALID", fc_padding="VALID"
        ),
    ),
    "dilated, frozen VGG, large context": DilatedConfig(
        num_classes=3,
        preprocessing="torchvision",
        backbone=dataclasses.replace(_VGG, output_stride=8),
        context="large",
    ),
    "pspnet": PSPNetConfig(
        num_classes=3,
        backbone=ResNet(depth=14, output_stride=8, stem="deep", width=2, trainable=True),
        channels=5,
        auxiliary_channels=4,
    ),
    "pspnet, frozen": PSPNetConfig(
        num_classes=3,
        backbone=ResNet(depth=14, output_stride=16, width=2),
        bins=(1, 3),
        channels=5,
        auxiliary_channels=4,
    ),
    "deeplab, pyramid": DeepLabConfig(
        num_classes=3,
        preprocessing="torchvision",
        backbone=dataclasses.replace(_VGG, trainable=True, output_stride=8, pool_size=3),
        rates=(1, 2),
        channels=7,
    ),
    "deeplab, ResNet": DeepLabConfig.resnet(
        num_classes=3,
        backbone=ResNet(depth=14, output_stride=8, width=2, trainable=True),
        rates=(2, 1),
    ),
}
"""Label -> config; every name in `NETWORKS` has at least one."""

LEARNING = {
    "reseg": ReSegConfig.no_vgg(
        num_classes=3, units=(8, 8), upsample_sizes=((2, 2),), upsample_channels=(8,)
    ),
    "fcn": FCNConfig(
        num_classes=3,
        preprocessing="unit",
        backbone=VGG16(
            trainable=True,
            batch_norm=True,
            channels=(8, 16, 16, 32, 32),
            fc_channels=32,
            dropout=0.0,
        ),
    ),
    "unet": UNetConfig(
        num_classes=3, padding="same", channels=(8, 16, 32), dropout=0.0, batch_norm=True
    ),
    "segnet": SegNetConfig.basic(num_classes=3, basic_channels=12),
    "fusionnet": FusionNetConfig(num_classes=3, channels=(8, 16, 32)),
    "frrn": FRRNConfig(
        num_classes=3,
        encoder=((1, 16), (1, 32)),
        decoder=((1, 16),),
        channels=16,
        residual_channels=8,
    ),
    "dilated": DilatedConfig(
        num_classes=3,
        preprocessing="unit",
        backbone=VGG16(
            trainable=True,
            batch_norm=True,
            channels=(8, 16, 16, 32, 32),
            fc_channels=32,
            dropout=0.0,
            output_stride=8,
        ),
        context="basic",
    ),
    "pspnet": PSPNetConfig(
        num_classes=3,
        preprocessing="unit",
        backbone=ResNet(depth=14, output_stride=8, width=8, trainable=True),
        bins=(2, 3, 6),
        channels=16,
        auxiliary_channels=16,
    ),
    "deeplab": DeepLabConfig(
        num_classes=3,
        preprocessing="unit",
        backbone=VGG16(
            trainable=True,
            batch_norm=True,
            channels=(8, 16, 16, 32, 32),
            output_stride=8,
            pool_size=3,
        ),
        rates=(1, 2),
        channels=32,
    ),
    "refinenet": RefineNetConfig(
        num_classes=3,
        preprocessing="unit",
        backbone=ResNet(depth=14, width=8, trainable=True),
        channels=(32, 16, 16, 16),
        poolings=2,
        output_units=1,
        dropout=0.0,
    ),
}
"""Name -> config: large enough to learn two images by heart, from nothing."""


def random_variables(config, seed: int = 0) -> dict:
    """Variables in which nothing is 0: a forgotten bias shows, and every gradient passes."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda key: api.init(config, key), jax.random.key(0))

    def value(path, leaf):
        if path[-1].key in ("var", "scale"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(leaf.dtype)
        inputs = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 10
        return rng.normal(0, inputs**-0.5, leaf.shape).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(value, shapes)


def images_of(count: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """uint8 [count, H, W, 3] of noise."""
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), np.uint8)
