"""Which ImageNet weights are published where, and how they enter a network.

Each set of weights belongs to the preprocessing that it was trained with, which the config
records: weights that see other pixels than they were trained on are worth little.
"""

import dataclasses
import logging
import os
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from reseg_jax.backbones import readers
from reseg_jax.backbones.base import Backbone
from reseg_jax.backbones.resnet import ResNet
from reseg_jax.backbones.resnet_reader import load_resnet
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.backbones.vgg_layers import VGG_LAYERS
from reseg_jax.errors import UserError
from reseg_jax.files.download import cache_dir, download

_Config = TypeVar("_Config")  # a `reseg_jax.networks.base.NetworkConfig`


class Source(NamedTuple):
    """A public file of weights.

    Attributes:
      url: where it is.
      backbone: the network in it, and its folder in the cache.
      preprocessing: what the network reads, a name of `backbones.preprocessing`, where mean and
        standard deviation are.
      license: of the weights.
      size: bytes, None if it is not published.
      md5, sha256: hexadecimal digests, or their first digits if no more is published, or None.
    """

    url: str
    backbone: str = "vgg16"
    preprocessing: str = "caffe"
    license: str = ""
    size: int | None = None
    md5: str | None = None
    sha256: str | None = None


# Converted from the Caffe model of Simonyan and Zisserman, which the ReSeg paper used; without the
# classifier it is a tenth of torchvision's file. Keras publishes an MD5 of it and no other digest
# (keras/applications/vgg16.py). License: of the VGG models of Oxford's Visual Geometry Group.
KERAS = Source(
    url="https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    preprocessing="caffe",
    license="CC BY 4.0",
    size=58_889_256,
    md5="6d6bbae143d832006294945121d1f1fc",
)

# torchvision's own training, IMAGENET1K_V1; the file's name has the first digits of its SHA-256.
# Most of its half gigabyte is the classifier. License: torchvision's.
TORCHVISION = Source(
    url="https://download.pytorch.org/models/vgg16-397923af.pth",
    preprocessing="torchvision",
    license="BSD 3-Clause",
    sha256="397923af",
)

SOURCES = {source.preprocessing: source for source in (KERAS, TORCHVISION)}
"""What is downloaded for a network whose VGG wants that preprocessing."""

# IMAGENET1K_V1 of torchvision, named as above. They fit the stem "7x7" only, so that nothing is
# downloaded unasked.
RESNETS = {
    depth: Source(
        url=f"https://download.pytorch.org/models/resnet{depth}-{digest}.pth",
        backbone=f"resnet{depth}",
        preprocessing="torchvision",
        license="BSD 3-Clause",
        sha256=digest,
    )
    for depth, digest in ((50, "0676ba61"), (101, "63fe2227"))
}
"""Depth of a ResNet -> where its weights are."""


def sources(backbone: Backbone) -> dict[str, Source]:
    """What is downloaded for a network with that backbone, by its preprocessing."""
    return SOURCES if isinstance(backbone, VGG16) else {}


def use_weights(
    config: _Config,
    variables: dict,
    path: str | os.PathLike | None = None,
    source: Source = KERAS,
) -> tuple[_Config, dict]:
    """Puts ImageNet weights into a network's backbone, `use_vgg_weights` or `use_resnet_weights`.

    A ResNet keeps its random values without a `path`, with a warning; `source` is VGG-16's.
    """
    if not isinstance(config.backbone, ResNet):
        return use_vgg_weights(config, variables, path, source)
    if path is not None:
        return use_resnet_weights(config, variables, path)
    depth = config.backbone.depth
    place = f", for example the file of {RESNETS[depth].url}" if depth in RESNETS else ""
    logging.getLogger(__name__).warning(
        "the ResNet-%d begins with random values: --backbone_weights=FILE gives it ImageNet's%s",
        depth,
        place,
    )
    return config, variables


def use_vgg_weights(
    config: _Config,
    variables: dict,
    path: str | os.PathLike | None = None,
    source: Source = KERAS,
) -> tuple[_Config, dict]:
    """Puts ImageNet weights into a network's VGG-16.

    The layers that `config.taps` need go to the parameters if the backbone is trainable, and else
    to the frozen variables. fc6 and fc7 keep their values, with a warning, if the file has only
    convolutions or `fc_channels` is not VGG-16's 4096.

    Args:
      config: of any network.
      variables: as from `reseg_jax.init`; they are not changed.
      path: a file in one of the formats of `readers.load_vgg`, or None.
      source: what is downloaded once, to the cache, without `path`.

    Returns:
      (config with the preprocessing that the weights were trained with, variables). Both are
      returned as they are if the network has no backbone and there is no `path`.

    Raises:
      UserError: the file, or a layer in it, is missing or wrong; or the network's backbone is
        another than the published one.
    """
    backbone = config.backbone
    if backbone is None:
        if path is None:
            return config, variables
        raise UserError("--backbone_weights is given but the network has no backbone: leave it out")
    published = VGG16()
    _check_published(backbone, "VGG-16", published, ("batch_norm", "channels"))
    path = Path(path) if path is not None else _fetch(source)
    needed = backbone.layers(config.taps)
    same_width = backbone.fc_channels == published.fc_channels
    tree, preprocessing = readers.load_vgg(
        path, [name for name in needed if name in VGG_LAYERS or same_width]
    )
    home = "params" if backbone.trainable else "frozen"
    before = variables.get(home, {}).get(backbone.name, {})
    missing = [name for name in needed if name not in tree]
    if lacking := [name for name in missing if name in VGG_LAYERS or name not in before]:
        raise UserError(
            f"{path} has no {', '.join(lacking)}, which this network needs: "
            "give a file that has, or read an earlier tap"
        )
    if missing:
        logging.getLogger(__name__).warning(
            "%s has no %s of %d channels, which keep their random values: torchvision's .pth and "
            "Keras' .h5 with the classifier have them with 4096",
            path,
            " and ".join(missing),
            backbone.fc_channels,
        )
    vgg = {name: _to_jax(tree[name]) if name in tree else before[name] for name in needed}
    variables = variables | {home: variables.get(home, {}) | {backbone.name: vgg}}
    return dataclasses.replace(config, preprocessing=preprocessing), variables


def _to_jax(layer):
    return {part: jnp.asarray(array) for part, array in layer.items()}


def use_resnet_weights(
    config: _Config, variables: dict, path: str | os.PathLike
) -> tuple[_Config, dict]:
    """Puts ImageNet weights into a network's ResNet, running statistics included.

    Args:
      config: of any network with a ResNet.
      variables: as from `reseg_jax.init`; they are not changed.
      path: torchvision's .pth, see `RESNETS`, or a .safetensors file of the same names.

    Returns:
      (config with torchvision's preprocessing, variables).

    Raises:
      UserError: the file, or a layer in it, is missing or wrong; or the network's ResNet is another
        than the published one.
    """
    backbone = config.backbone
    name = f"a ResNet-{backbone.depth}"
    _check_published(backbone, name, ResNet(depth=backbone.depth), ("stem", "width"))
    module = backbone.module(config.taps)
    wanted = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 1, 1, 3)))
    shapes = {
        kind: {key: leaf.shape for key, leaf in flatten_dict(tree, sep="/").items()}
        for kind, tree in wanted.items()
    }
    found = load_resnet(path, backbone, shapes["params"] | shapes["batch_stats"])
    homes = {"params": "params" if backbone.trainable else "frozen", "batch_stats": "batch_stats"}
    for kind, home in homes.items():
        tree = unflatten_dict({key: jnp.asarray(found[key]) for key in shapes[kind]}, sep="/")
        variables = variables | {home: variables.get(home, {}) | {backbone.name: tree}}
    return dataclasses.replace(config, preprocessing="torchvision"), variables


def _check_published(backbone, network, published, fields):
    for field in fields:
        value, expected = getattr(backbone, field), getattr(published, field)
        if value != expected:
            raise UserError(
                f"backbone.{field}={value}: the weights of {network} are for {field}={expected}, "
                "set that, or train it from random values"
            )


def _fetch(source):
    return download(
        source.url,
        cache_dir() / source.backbone / source.url.rpartition("/")[2],
        source.sha256,
        source.md5,
        source.size,
        what="the VGG-16 weights",
        advice="fetch that file on a machine with a network, or take VGG-16 in another format "
        f"({', '.join(readers.SUFFIXES)}), and give it with --backbone_weights=PATH",
    )
