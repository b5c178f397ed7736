"""Pixels in, labels out: a trained network on images of any size.

Dimension key: `B H W` image axes, `K` classes. A leading B may be absent, in and out. Each
network and shape [B, H, W] is compiled once a process.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from reseg_jax import model
from reseg_jax.config import ReSegConfig
from reseg_jax.errors import UserError
from reseg_jax.labels import likeliest


def predict(
    config: ReSegConfig, variables: dict, images: np.ndarray, flip: bool = False
) -> np.ndarray:
    """The most probable class of every pixel.

    images: [H, W, 3] or [B, H, W, 3] RGB, uint8 or float, 0..255.
    flip: average the probabilities over each image and its mirror image.
    Returns NumPy uint8 [H, W] or [B, H, W]. A UserError says what is wrong with `images`.
    """
    return _run(_labels, config, variables, images, flip)


def predict_probabilities(
    config: ReSegConfig, variables: dict, images: np.ndarray, flip: bool = False
) -> np.ndarray:
    """As `predict`, but the probabilities of all classes: float32 [H, W, K] or [B, H, W, K]."""
    return _run(_probabilities, config, variables, images, flip)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _probabilities(config, variables, images, flip):
    probabilities = jax.nn.softmax(model.apply(config, variables, images))
    if flip:
        mirrored = _probabilities(config, variables, images[:, :, ::-1], False)
        probabilities = (probabilities + mirrored[:, :, ::-1]) / 2
    return probabilities


@functools.partial(jax.jit, static_argnums=(0, 3))
def _labels(config, variables, images, flip):
    if flip:
        scores = _probabilities(config, variables, images, flip)
    else:  # rounding in a softmax can tie what the logits tell apart
        scores = model.apply(config, variables, images)
    return likeliest(scores, config.num_classes)


def _run(function, config, variables, images, flip):
    images = _checked(images)
    if images.ndim == 3:
        return np.asarray(function(config, variables, images[None], flip))[0]
    return np.asarray(function(config, variables, images, flip))


def _checked(images):
    images = np.asarray(images)
    if images.ndim not in (3, 4) or images.shape[-1] != 3 or 0 in images.shape:
        raise UserError(
            f"images have shape {images.shape}: give [height, width, 3] or "
            "[batch, height, width, 3] RGB"
        )
    if images.dtype == np.uint8:
        return images
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise UserError(f"images are {images.dtype}: give uint8 or float, 0..255")
    if not ((images >= 0) & (images <= 255)).all():
        raise UserError("images hold values outside 0..255 or not finite: give RGB, 0..255")
    return images.astype(np.float32)
