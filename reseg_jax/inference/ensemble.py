"""Probabilities averaged: over looks at an image, over networks, and over dropout.

    p = mean over looks l, members m and samples s of  l^-1 softmax(m_s(l(image)))

A look enlarges the image and may mirror it; its inverse takes the probabilities back to the
image's pixels. Members are networks of one config: checkpoints of a run, or other seeds. Samples
are passes with dropout left on (Monte-Carlo dropout, Gal and Ghahramani 2016; for segmentation
Bayesian SegNet, Kendall et al. 2015), the "sub-model averaging" that section 4.3 leaves untried.

Dimension key: `B H W` image axes, `K` outputs: the classes, and void where it is trained.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from reseg_jax import api
from reseg_jax.canvas import place
from reseg_jax.config import ReSegConfig
from reseg_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Averaging:
    """What is averaged besides the members. Without arguments: one look, nothing dropped.

    flip:    each image and its mirror image.
    scales:  factors to enlarge the image by before the network sees it.
    samples: passes with dropout on; 0 is one pass that drops nothing.
    """

    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    samples: int = 0

    def __post_init__(self):
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise UserError(f"scales={self.scales}: give factors above 0, for example 0.75,1,1.25")
        if self.samples < 0:
            raise UserError(f"samples={self.samples}: give a number of passes, or 0 for none")


def probabilities(
    config: ReSegConfig,
    members: Sequence[dict],
    images: np.ndarray,
    averaging: Averaging = Averaging(),
    seed: int = 0,
    canvas: tuple[int, int] | None = None,
) -> np.ndarray:
    """The mean softmax of every look, member and sample at every pixel.

    members: variables, one or more. Those that share their frozen VGG, the same object, have its
      features computed once an image and look (`share_vgg`).
    images: [H, W, 3] or [B, H, W, 3] RGB, 0..255.
    seed: of what the samples drop. Equal arguments give equal results.
    canvas: the one (H, W) to compute on (`reseg_jax.canvas`); what enlarges a look enlarges it.
    Returns float32 [H, W, K] or [B, H, W, K]; `reseg_jax.labels.likeliest` makes labels of it.
    A UserError for samples of a network without dropout. Each size of a look, or of its canvas,
    compiles once.
    """
    if images.ndim == 3:
        return probabilities(config, members, images[None], averaging, seed, canvas)[0]
    if averaging.samples and not config.dropout:
        raise UserError(
            f"samples={averaging.samples}: this network has no dropout to sample; train one with "
            "--set dropout=0.2, or leave samples out"
        )
    size, key = images.shape[1:3], jax.random.key(seed)
    total, terms = 0.0, 0
    for scale in averaging.scales:
        for mirrored in (False, True)[: 1 + averaging.flip]:
            look = _look(images, _scaled(size, scale), mirrored)
            seen, inside = place(look, canvas and _scaled(canvas, scale))
            features = _features(config, members, seen, inside)
            found = 0.0
            for variables, mapped in zip(members, features, strict=True):
                for _ in range(averaging.samples or 1):
                    drop = jax.random.fold_in(key, terms) if averaging.samples else None
                    scores = _softmax(config, variables, mapped, seen.shape[1:3], drop, inside)
                    found += _fetched(scores)
                    terms += 1
            found = found[:, : look.shape[1], : look.shape[2]]
            total += _look(found, size, mirrored)
    return total / terms


@jax.jit
def uncertainty(probabilities: jax.Array) -> jax.Array:
    """[..., K] probabilities -> [...]: their entropy, -sum p log p / log K.

    0 where one class is certain, 1 where all are alike. Of averaged probabilities it is the
    "predictive entropy": high where the terms are unsure and where they disagree.
    """
    entropy = jax.scipy.special.entr(probabilities).sum(axis=-1)
    return entropy / math.log(probabilities.shape[-1])


def share_vgg(members: Sequence[dict]) -> list[dict]:
    """Variables of one config; those whose frozen VGG equals the first one's hold that object."""
    frozen = members[0].get("frozen")

    def alike(variables):
        return jax.tree.all(jax.tree.map(np.array_equal, frozen, variables["frozen"]))

    return [v | {"frozen": frozen} if frozen and alike(v) else v for v in members]


def _scaled(size, scale):
    return tuple(max(1, round(scale * length)) for length in size)


def _look(maps, size, mirrored):
    """[B, H, W, C] mirrored, and resized to `size`: linear, and smoothed where it shrinks.

    Probabilities stay such: each result is a weighted mean.
    """
    if mirrored:
        maps = maps[:, :, ::-1]
    return maps if maps.shape[1:3] == size else _fetched(_resized(maps, size))


def _fetched(array):
    """As NumPy's, which compiles nothing for each size; and the program that gives it has ended.

    Two programs at once, each divided over the devices, may hold one device each and wait for the
    other for ever (seen on two CPU cores, jaxlib 0.10.2). NumPy waits for one copy alone.
    """
    return np.asarray(jax.block_until_ready(array))


@functools.partial(jax.jit, static_argnums=1)
def _resized(maps, size):
    shape = (maps.shape[0], *size, maps.shape[3])
    return jax.image.resize(maps.astype(jnp.float32), shape, "linear")


def _features(config, members, images, inside):
    """What each member's head reads."""
    found = {}
    for variables in members:
        vgg = id(variables.get("frozen", variables))  # a fine-tuned one is each member's own
        if vgg not in found:
            found[vgg] = api.features(config, variables, images, inside)
        yield found[vgg]


@functools.partial(jax.jit, static_argnums=(0, 3))
def _softmax(config, variables, features, size, dropout_key, inside):
    return jax.nn.softmax(api.head(config, variables, features, size, dropout_key, inside))
