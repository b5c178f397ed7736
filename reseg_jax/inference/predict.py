"""Pixels in, labels out: a trained network on images of any size.

A network is compiled once for a number of images and a padded size; images of many sizes share few
padded sizes, which `reseg_jax.compiled.common_sizes` chooses.
`reseg_jax.inference.ensemble` has what is beyond the mirror image: several sizes, several networks,
dropout left on.

Dimension key: `B H W` image axes, `K` outputs. A leading B may be absent, in and out.
"""

import functools

import jax
import numpy as np

from reseg_jax import api
from reseg_jax.compiled import common_sizes
from reseg_jax.inference import memory
from reseg_jax.inference.ensemble import Views, probabilities
from reseg_jax.inputs import as_array, check_images
from reseg_jax.labels import likeliest
from reseg_jax.networks.base import NetworkConfig
from reseg_jax.padding import pad_to


def predict(
    config: NetworkConfig,
    variables: dict,
    images: np.ndarray,
    flip: bool = False,
    padded_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """The most probable class of every pixel.

    Args:
      config: the network.
      variables: as from `reseg_jax.init` or `reseg_jax.load`.
      images: [H, W, 3] or [B, H, W, 3] RGB, uint8 or float, 0..255.
      flip: average the probabilities over each image and its mirror image.
      padded_size: the (H, W) to compute on (`reseg_jax.padding`). By default one for which this
        network is already compiled, if the images nearly fill it; their own size leaves them
        as they are.

    Returns:
      NumPy uint8 [H, W] or [B, H, W]; `VOID` if a network that was trained on void finds that
      likeliest.

    Raises:
      UserError: `images` are no such images.
    """
    images = _checked(images)
    padded_size = padded_size or _common_size(config, images)
    if flip:
        views = Views(flip=True)
        scores = probabilities(config, [variables], images, views, padded_size=padded_size)
        return likeliest(scores, config.num_classes)
    if images.ndim == 3:
        return predict(config, variables, images[None], padded_size=padded_size)[0]
    shape = images.shape[:3]
    images, valid_size = pad_to(images, padded_size)
    lowered = functools.partial(_labels.lower, config, variables, images, valid_size)
    memory.check_fits(shape, 1.0, lambda: [lowered().compile()])
    return np.asarray(_labels(config, variables, images, valid_size))[:, : shape[1], : shape[2]]


def predict_probabilities(
    config: NetworkConfig,
    variables: dict,
    images: np.ndarray,
    flip: bool = False,
    padded_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """As `predict`, but the probabilities: float32 [H, W, K] or [B, H, W, K].

    K are the classes and, with `config.void_class`, void after them.
    """
    images = _checked(images)
    padded_size = padded_size or _common_size(config, images)
    return probabilities(config, [variables], images, Views(flip=flip), padded_size=padded_size)


def _common_size(config, images):
    api.check_config(config)
    batch = images.shape[0] if images.ndim == 4 else 1
    return common_sizes(config, batch).holding(images.shape[-3:-1])


@functools.partial(jax.jit, static_argnums=0)
def _labels(config, variables, images, valid_size):
    # Of the logits: rounding in a softmax can tie what they tell apart.
    logits = api.apply(config, variables, images, valid_size=valid_size)
    return likeliest(logits, config.num_classes)


def _checked(images):
    images = np.asarray(as_array(images))
    check_images(images, single=True)
    return images if images.dtype == np.uint8 else images.astype(np.float32)
