"""Probabilities averaged: over views of an image, over networks, and over dropout.

    p = mean over views v, members m and samples s of  v^-1 softmax(m_s(v(image)))

A view enlarges the image and may mirror it (test-time augmentation); its inverse takes the
probabilities back to the image's pixels. Members are networks of the same classes: checkpoints of
a run, other seeds, or other networks, as DeconvNet's ensemble with FCN is (Noh et al. 2015, section
4.3). Samples are passes with dropout left on (Monte-Carlo dropout, Gal and Ghahramani 2016; for
segmentation Bayesian SegNet, Kendall et al. 2015), the "sub-model averaging" that section 4.3 of
the ReSeg paper leaves untried.

Dimension key: `B H W` image axes, `K` outputs: the classes, and void if it is trained.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from reseg_jax import api
from reseg_jax.errors import UserError
from reseg_jax.inference import memory
from reseg_jax.inference.views import (
    ONE_VIEW,
    Views,
    fetched,
    rows_of,
    rows_per_strip,
    scaled,
    seen_as,
)
from reseg_jax.inputs import as_array, check_images
from reseg_jax.networks.base import NetworkConfig
from reseg_jax.padding import pad_to

Member = dict | tuple[NetworkConfig, dict]
"""Variables of the network that a call names, or (config, variables) of another one."""


def probabilities(
    config: NetworkConfig,
    members: Sequence[Member],
    images: np.ndarray,
    views: Views = ONE_VIEW,
    seed: int = 0,
    padded_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """The mean softmax of every view, member and sample at every pixel.

    Each size of a view, or its padded size, compiles once for each network.

    Args:
      config: the network of the members that are variables only.
      members: one or more: variables, or (config, variables) of another network with as many
        classes. Those that share their frozen backbone, the same object, and read the same of it
        have its maps computed once per image and view (`share_backbone`).
      images: [H, W, 3] or [B, H, W, 3] RGB, 0..255.
      views: what is averaged.
      seed: of what the samples drop. Equal arguments give equal results.
      padded_size: the (H, W) to compute on (`reseg_jax.padding`), enlarged as the views are.

    Returns:
      float32 [H, W, K] or [B, H, W, K]; `reseg_jax.labels.likeliest` makes labels of it.

    Raises:
      UserError: `images` are no such images, `members` no such variables or of other classes,
        samples are asked of a network without dropout, or the images do not fit the padded size.
    """
    images = np.asarray(as_array(images))
    check_images(images, single=True)
    if images.ndim == 3:
        return probabilities(config, members, images[None], views, seed, padded_size)[0]
    parts = list(strips(config, members, images, views, seed, padded_size))
    return np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]


def strips(
    config: NetworkConfig,
    members: Sequence[Member],
    images: np.ndarray,
    views: Views = ONE_VIEW,
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
    for parts in _strips(config, [members], images, views, seed, padded_size):
        yield parts[-1]


def side_by_side(
    config: NetworkConfig,
    groups: Sequence[Sequence[Member]],
    images: np.ndarray,
    views: Views = ONE_VIEW,
    seed: int = 0,
    padded_size: tuple[int, int] | None = None,
) -> np.ndarray:
    """`probabilities` of several groups of members and of all together, for one computation.

    Args:
      config, views, seed, padded_size: as there.
      groups: members of each.
      images: [B, H, W, 3].

    Returns:
      float32 [G, B, H, W, K] of G groups, or [G + 1, B, H, W, K] if there are several: the last
      are those of all members together, each of which counts alike.
    """
    parts = zip(*_strips(config, groups, images, views, seed, padded_size), strict=True)
    return np.stack([np.concatenate(part, axis=1) for part in parts])


def uncertainty(probabilities: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
    """[..., K] probabilities -> [...]: their entropy, -sum p log p / log K.

    0 if one class is certain, 1 if all are alike. Of averaged probabilities it is the
    "predictive entropy": high if the terms are unsure and if they disagree. Of a
    NumPy array it is NumPy's, which compiles nothing for each size.
    """
    special = scipy.special if isinstance(probabilities, np.ndarray) else jax.scipy.special
    return special.entr(probabilities).sum(axis=-1) / math.log(probabilities.shape[-1])


def share_backbone(members: Sequence[dict]) -> list[dict]:
    """Variables; those whose frozen backbone equals that of an earlier one hold that object."""
    shared = []
    for variables in members:
        frozen = variables.get("frozen")
        earlier = (other["frozen"] for other in shared if frozen and "frozen" in other)
        alike = next((other for other in earlier if _equal(other, frozen)), None)
        shared.append(variables | {"frozen": alike} if alike else variables)
    return shared


def _equal(ours, theirs):
    """Whether two trees hold the same names and numbers."""
    (leaves, structure), (others, other) = map(jax.tree.flatten, (ours, theirs))
    return structure == other and all(map(np.array_equal, leaves, others))


def _strips(config, groups, images, views, seed, padded_size):
    """Lists of [B, rows, W, K]: the means of each group and, of several, last that of all."""
    check_images(images, single=False)
    groups = [_checked(config, members, views) for members in groups]
    members = [member for group in groups for member in group]
    size, largest = images.shape[1:3], max(views.scales)
    for network, variables in dict(members).items():
        programs = functools.partial(_compiled, network, variables, images, padded_size, largest)
        memory.check_fits(images.shape[:3], largest, programs)
    keys = map(functools.partial(jax.random.fold_in, jax.random.key(seed)), itertools.count())
    totals = [_sums(groups, images, views, scale, padded_size, keys) for scale in views.scales]
    terms = len(views.scales) * (1 + views.flip) * (views.samples or 1)  # of a member
    rows = rows_per_strip(images.shape[0], size[1], config.outputs)
    for top in range(0, size[0], rows):
        sums = [
            sum(rows_of(total, size, top, rows) for total in of_scales)
            for of_scales in zip(*totals, strict=True)
        ]
        means = [each / (terms * len(group)) for each, group in zip(sums, groups, strict=True)]
        yield [*means, sum(sums) / (terms * len(members))] if len(groups) > 1 else means


def _checked(config, members, views):
    """Members as (config, variables)."""
    if isinstance(members, Mapping) or not members:
        raise UserError("members are no list of variables: give [variables] of one network")
    pairs = [member if isinstance(member, tuple) else (config, member) for member in members]
    for network, variables in pairs:
        api.check_variables(network, variables)
        if (network.num_classes, network.void_class) != (config.num_classes, config.void_class):
            raise UserError(
                f"members: a {type(network).__name__} has {_outputs(network)}, and this "
                f"{type(config).__name__} {_outputs(config)}: average networks of the same classes"
            )
        if views.samples and not network.uses_dropout:
            raise UserError(
                f"samples={views.samples}: this network has no dropout to sample; train one with "
                "--set dropout=0.2, or leave samples out"
            )
    return pairs


def _outputs(config):
    return f"{config.num_classes} classes{' and void' if config.void_class else ''}"


def _sums(groups, images, views, scale, padded_size, keys):
    """[B, h, w, K] of each group at a view's size, its members, mirror images and samples added."""
    size, totals = scaled(images.shape[1:3], scale), [0.0] * len(groups)
    for mirrored in (False, True) if views.flip else (False,):
        view = seen_as(images, size, mirrored)
        seen, valid_size = pad_to(view, padded_size and scaled(padded_size, scale))
        maps = {}
        for index, members in enumerate(groups):
            found = 0.0
            for config, variables in members:
                inputs = _inputs(config, variables, seen, valid_size, maps)
                for _ in range(views.samples or 1):
                    drop = next(keys) if views.samples else None
                    scores = _softmax(config, variables, inputs, seen.shape[1:3], drop, valid_size)
                    found += fetched(scores)
            found = found[:, : size[0], : size[1]]
            totals[index] += found[:, :, ::-1] if mirrored else found
    return totals


def _compiled(config, variables, images, padded_size, scale):
    """The programs that compute a view of this scale, each once compiled."""
    size = scaled(images.shape[1:3], scale)
    seen = scaled(padded_size, scale) if padded_size else size
    dtype = images.dtype if size == images.shape[1:3] else jnp.float32
    inputs = jax.ShapeDtypeStruct((images.shape[0], *seen, 3), dtype)
    valid_size = None if seen == size else jax.ShapeDtypeStruct((2,), jnp.int32)
    programs = []
    if config.frozen:
        programs.append(api.compile_features(config, variables, inputs, valid_size=valid_size))
        inputs = programs[0].out_info
    softmax = _softmax.lower(config, variables, inputs, seen, None, valid_size)
    return [*programs, softmax.compile()]


def _inputs(config, variables, images, valid_size, known):
    """What a member reads: images, or maps of a frozen backbone, which are `known` ever after."""
    if not config.frozen:  # a trained backbone is each member's own, and may drop
        return images
    # All that the maps depend on besides the images.
    pixels = config.preprocessing, config.contrast, config.margin
    size = config.padded_size(images.shape[1:3])
    maps = id(variables["frozen"]), config.backbone, config.taps, *pixels, size
    if maps not in known:
        known[maps] = api.features(config, variables, images, valid_size=valid_size)
    return known[maps]


@functools.partial(jax.jit, static_argnums=(0, 3))
def _softmax(config, variables, inputs, size, dropout_key, valid_size):
    logits = api.build(config).logits(
        variables, inputs, size, dropout_key=dropout_key, valid_size=valid_size
    )
    return jax.nn.softmax(logits)
