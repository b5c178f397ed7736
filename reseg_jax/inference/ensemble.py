"""Probabilities averaged: over views of an image, over networks, and over dropout.

    p = mean over views v, members m and samples s of  v^-1 softmax(m_s(v(image)))

A view enlarges the image and may mirror it (test-time augmentation); its inverse takes the
probabilities back to the image's pixels. Members are networks of one config: checkpoints of a run,
or other seeds. Samples are passes with dropout left on (Monte-Carlo dropout, Gal and Ghahramani
2016; for segmentation Bayesian SegNet, Kendall et al. 2015), the "sub-model averaging" that section
4.3 of the ReSeg paper leaves untried.

Dimension key: `B H W` image axes, `K` outputs: the classes, and void if it is trained.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from reseg_jax import api
from reseg_jax.errors import UserError
from reseg_jax.inference import memory
from reseg_jax.inputs import as_array, check_images
from reseg_jax.networks.base import NetworkConfig
from reseg_jax.padding import pad_to

_STRIP = 1 << 24  # probabilities in a strip, 64 MB; all those of 16 CamVid frames


@dataclasses.dataclass(frozen=True)
class Views:
    """What is averaged besides the members. Without arguments: one view, nothing dropped.

    Attributes:
      flip: each image and its mirror image.
      scales: factors to enlarge the image by before the network sees it.
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
    config: NetworkConfig,
    members: Sequence[dict],
    images: np.ndarray,
    views: Views = Views(),
    seed: int = 0,
    padded_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """The mean softmax of every view, member and sample at every pixel.

    Each size of a view, or its padded size, compiles once.

    Args:
      config: the network.
      members: variables, one or more. Those that share their frozen backbone, the same object,
        have its maps computed once per image and view (`share_backbone`).
      images: [H, W, 3] or [B, H, W, 3] RGB, 0..255.
      views: what is averaged.
      seed: of what the samples drop. Equal arguments give equal results.
      padded_size: the (H, W) to compute on (`reseg_jax.padding`), enlarged as the views are.

    Returns:
      float32 [H, W, K] or [B, H, W, K]; `reseg_jax.labels.likeliest` makes labels of it.

    Raises:
      UserError: `images` are no such images, `members` no such variables, samples are asked of a
        network without dropout, or the images do not fit the padded size.
    """
    images = np.asarray(as_array(images))
    check_images(images, single=True)
    if images.ndim == 3:
        return probabilities(config, members, images[None], views, seed, padded_size)[0]
    parts = list(strips(config, members, images, views, seed, padded_size))
    return np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]


def strips(
    config: NetworkConfig,
    members: Sequence[dict],
    images: np.ndarray,
    views: Views = Views(),
    seed: int = 0,
    padded_size: tuple[int, int] | None = None,
) -> Iterator[np.ndarray]:
    """As `probabilities`, strip by strip from the top, each small beside a large photo's.

    Args:
      config, members, views, seed, padded_size: as there.
      images: [B, H, W, 3].

    Yields:
      float32 [B, rows, W, K].
    """
    check_images(images, single=False)
    if isinstance(members, Mapping) or not members:
        raise UserError("members are no list of variables: give [variables] of one network")
    for variables in members:
        api.check_variables(config, variables)
    if views.samples and not config.uses_dropout:
        raise UserError(
            f"samples={views.samples}: this network has no dropout to sample; train one with "
            "--set dropout=0.2, or leave samples out"
        )
    size, largest = images.shape[1:3], max(views.scales)
    programs = functools.partial(_compiled, config, members[0], images, padded_size, largest)
    memory.check_fits(images.shape[:3], largest, programs)
    key, terms, totals = jax.random.key(seed), 0, []
    for scale in views.scales:
        total = 0.0
        for mirrored in (False, True) if views.flip else (False,):
            view = _view(images, _scaled(size, scale), mirrored)
            seen, valid_size = pad_to(view, padded_size and _scaled(padded_size, scale))
            found = 0.0
            for variables, inputs in _inputs(config, members, seen, valid_size):
                for _ in range(views.samples or 1):
                    drop = jax.random.fold_in(key, terms) if views.samples else None
                    scores = _softmax(config, variables, inputs, seen.shape[1:3], drop, valid_size)
                    found += _fetched(scores)
                    terms += 1
            found = found[:, : view.shape[1], : view.shape[2]]
            total += found[:, :, ::-1] if mirrored else found
        totals.append(total)
    rows = max(1, _STRIP // (images.shape[0] * size[1] * config.outputs))
    for top in range(0, size[0], rows):
        yield sum(_rows(total, size, top, rows) for total in totals) / terms


def uncertainty(probabilities: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
    """[..., K] probabilities -> [...]: their entropy, -sum p log p / log K.

    0 if one class is certain, 1 if all are alike. Of averaged probabilities it is the
    "predictive entropy": high if the terms are unsure and if they disagree. Of a
    NumPy array it is NumPy's, which compiles nothing for each size.
    """
    special = scipy.special if isinstance(probabilities, np.ndarray) else jax.scipy.special
    return special.entr(probabilities).sum(axis=-1) / math.log(probabilities.shape[-1])


def share_backbone(members: Sequence[dict]) -> list[dict]:
    """Variables of one config; those whose frozen backbone equals the first's hold that object."""
    frozen = members[0].get("frozen")

    def alike(variables):
        return jax.tree.all(jax.tree.map(np.array_equal, frozen, variables["frozen"]))

    return [v | {"frozen": frozen} if frozen and alike(v) else v for v in members]


def _scaled(size, scale):
    return tuple(max(1, round(scale * length)) for length in size)


def _view(maps, size, mirrored):
    """[B, H, W, C] mirrored, and resized to `size`: linear, and smoothed if it shrinks.

    Probabilities stay such: each result is a weighted mean.
    """
    if mirrored:
        maps = maps[:, :, ::-1]
    if maps.shape[1:3] == size:
        return maps
    if maps.size > _STRIP:  # a large photo: first its rows, some at a time
        rows = max(1, _STRIP // (maps.shape[0] * maps.shape[2] * maps.shape[3]))
        parts = [maps[:, top : top + rows] for top in range(0, maps.shape[1], rows)]
        narrow = [_fetched(_resized(part, (part.shape[1], size[1]))) for part in parts]
        maps = np.concatenate(narrow, axis=1)
    return _fetched(_resized(maps, size))


def _rows(maps, size, top, rows):
    """`rows` rows from `top` of [B, h, w, C] as they are when resized to `size`."""
    if rows >= size[0]:
        return _view(maps, size, False)
    if maps.shape[1:3] == size:
        return maps[:, top : top + rows]
    begin = min(top, size[0] - rows)  # so that all strips are of one shape
    return _fetched(_resized_rows(maps, size, rows, begin))[:, top - begin :]


def _fetched(array):
    """As NumPy's, which compiles nothing for each size; and the program that gives it has ended.

    Two programs at once, each divided over the devices, may hold one device each and wait for the
    other for ever (seen on two CPU cores, jaxlib 0.10.2). NumPy waits for one copy only.
    """
    return np.asarray(jax.block_until_ready(array))


@functools.partial(jax.jit, static_argnums=1)
def _resized(maps, size):
    shape = (maps.shape[0], *size, maps.shape[3])
    return jax.image.resize(maps.astype(jnp.float32), shape, "linear")


@functools.partial(jax.jit, static_argnums=(1, 2))
def _resized_rows(maps, size, rows, begin):
    shape = (maps.shape[0], rows, size[1], maps.shape[3])
    factors = jnp.float32(size) / jnp.float32(maps.shape[1:3])
    shift = jnp.stack([-begin, jnp.zeros_like(begin)]).astype(jnp.float32)
    return jax.image.scale_and_translate(maps, shape, (1, 2), factors, shift, "linear")


def _compiled(config, variables, images, padded_size, scale):
    """The programs that compute a view of this scale, each once compiled."""
    size = _scaled(images.shape[1:3], scale)
    seen = _scaled(padded_size, scale) if padded_size else size
    dtype = images.dtype if size == images.shape[1:3] else jnp.float32
    inputs = jax.ShapeDtypeStruct((images.shape[0], *seen, 3), dtype)
    valid_size = None if seen == size else jax.ShapeDtypeStruct((2,), jnp.int32)
    programs = []
    if config.frozen:
        programs.append(api.compile_features(config, variables, inputs, valid_size=valid_size))
        inputs = programs[0].out_info
    softmax = _softmax.lower(config, variables, inputs, seen, None, valid_size)
    return [*programs, softmax.compile()]


def _inputs(config, members, images, valid_size):
    """(variables, what the network reads) of each member: maps of a frozen backbone, or images."""
    found = {}
    for variables in members:
        if not config.frozen:  # a trained backbone is each member's own, and may drop
            yield variables, images
            continue
        backbone = id(variables["frozen"])
        if backbone not in found:
            found[backbone] = api.features(config, variables, images, valid_size=valid_size)
        yield variables, found[backbone]


@functools.partial(jax.jit, static_argnums=(0, 3))
def _softmax(config, variables, inputs, size, dropout_key, valid_size):
    logits = api.build(config).logits(
        variables, inputs, size, dropout_key=dropout_key, valid_size=valid_size
    )
    return jax.nn.softmax(logits)
