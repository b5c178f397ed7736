"""Pixels in, labels out: a trained network on images of any size.

Dimension key: `B H W` image axes, `K` outputs. A leading B may be absent, in and out. Each
network and shape [B, H, W], or canvas, is compiled once a process. `reseg_jax.averaging` has what
is beyond the mirror image: several sizes, several networks, dropout left on.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from reseg_jax import api
from reseg_jax.canvas import place
from reseg_jax.config import ReSegConfig
from reseg_jax.errors import UserError
from reseg_jax.inference.ensemble import Averaging, probabilities
from reseg_jax.labels import likeliest


def predict(
    config: ReSegConfig,
    variables: dict,
    images: np.ndarray,
    flip: bool = False,
    canvas: tuple[int, int] | None = None,
) -> np.ndarray:
    """The most probable class of every pixel.

    images: [H, W, 3] or [B, H, W, 3] RGB, uint8 or float, 0..255.
    flip: average the probabilities over each image and its mirror image.
    canvas: the one (H, W) to compute on, which images of many sizes can share (`reseg_jax.canvas`).
    Returns NumPy uint8 [H, W] or [B, H, W]; `VOID` where a network that was trained on void
    finds that likeliest. A UserError says what is wrong with `images`.
    """
    images = _checked(images)
    if flip:
        scores = probabilities(config, [variables], images, Averaging(flip=True), canvas=canvas)
        return np.asarray(likeliest(scores, config.num_classes))
    if images.ndim == 3:
        return predict(config, variables, images[None], canvas=canvas)[0]
    rows, columns = images.shape[1:3]
    images, inside = place(images, canvas)
    return np.asarray(_labels(config, variables, images, inside))[:, :rows, :columns]


def predict_probabilities(
    config: ReSegConfig,
    variables: dict,
    images: np.ndarray,
    flip: bool = False,
    canvas: tuple[int, int] | None = None,
) -> np.ndarray:
    """As `predict`, but the probabilities: float32 [H, W, K] or [B, H, W, K].

    K are the classes and, with `config.void_class`, void behind them.
    """
    images = _checked(images)
    return probabilities(config, [variables], images, Averaging(flip=flip), canvas=canvas)


@functools.partial(jax.jit, static_argnums=0)
def _labels(config, variables, images, inside):
    # Of the logits: rounding in a softmax can tie what they tell apart.
    logits = api.apply(config, variables, images, inside=inside)
    return likeliest(logits, config.num_classes)


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
