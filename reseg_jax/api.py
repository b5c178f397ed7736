"""Any network from pixels to logits: what is done once, for all of them.

    pixels -> preprocess -> pad -> backbone -> maps -> network -> resize -> crop -> logits

`init` and `apply` are the way in; `features` is what a frozen backbone computes, and `head` the
rest, so that the maps in between can be kept. `build` gives training the same as functions.

Variables are `{"params": trained, "frozen": {"vgg": ...}, "batch_stats": running statistics}`,
each collection only if there is something in it. A backbone's parameters are below its name, in
"frozen", out of reach of gradients and optimizer, unless it is trainable.

Dimension key: `B H W` image axes, `C` channels, `K` outputs.
"""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from reseg_jax import devices, networks
from reseg_jax.backbones.preprocessing import preprocess
from reseg_jax.errors import UserError
from reseg_jax.inputs import as_array, check_images
from reseg_jax.layers import conv
from reseg_jax.networks.base import PIXELS, NetworkConfig
from reseg_jax.padding import clear

Maps = dict[str, jax.Array]


def init(config: NetworkConfig, key: jax.Array) -> dict:
    """Random variables of a network.

    Args:
      config: the network.
      key: a random key.

    Returns:
      `{"params": ..., "frozen": ..., "batch_stats": ...}`, see the top of this file. The backbone
      is random too: load ImageNet weights with `reseg_jax.use_vgg_weights` or
      `reseg_jax.use_resnet_weights`. Parameters are named as the layers are:
      `renet_0/vertical/forward/input_kernel`, `classifier/kernel`, `vgg/conv1_1/kernel`, ...
    """
    check_config(config)
    old = getattr(key, "shape", None) == (2,)  # as jax.random.PRNGKey makes it
    if not old and not jnp.issubdtype(getattr(key, "dtype", object), jax.dtypes.prng_key):
        raise UserError(f"key is a {type(key).__name__}: give jax.random.key(0)")
    backbone_key, network_key = jax.random.split(key)
    pixels = jax.eval_shape(lambda: _pad(config, jnp.zeros((1, 1, 1, 3))))
    maps, found = {PIXELS: pixels}, {}
    if config.backbone:
        backbone = _backbone(config)
        found = backbone.lazy_init(backbone_key, pixels)
        maps = jax.eval_shape(backbone.apply, found, pixels)
    kept = ["params", "batch_stats"]  # and no auxiliary logits, which are no variables
    network = networks.build(config).lazy_init(network_key, maps, mutable=kept)
    home = "frozen" if config.frozen else "params"
    variables = {"params": network["params"]}
    for collection, tree in (("params", home), ("batch_stats", "batch_stats")):
        if collection in found:
            variables.setdefault(tree, {})
            variables[tree] = {**variables[tree], config.backbone.name: found[collection]}
    if "batch_stats" in network:
        variables["batch_stats"] = {**variables.get("batch_stats", {}), **network["batch_stats"]}
    return variables


def prepare(config: NetworkConfig, variables: dict) -> dict:
    """Variables for many predictions: what depends on them only is computed here, once.

    That is the kernels that minimal filtering transforms (`reseg_jax.layers.winograd`), in four
    times their memory. Prepared variables predict; they are not for training.

    Args:
      config: the network.
      variables: as from `init`.

    Returns:
      `variables` with one collection more, for `apply`, `reseg_jax.predict` and the like.
    """
    check_variables(config, variables)
    # Minimal filtering is for float32, and a frozen backbone always is.
    trained = variables["params"] if config.dtype == "float32" else {}
    kernels = conv.prepare({**variables.get("frozen", {}), **trained})
    return {**variables, conv.TRANSFORMED: kernels}


def features(
    config: NetworkConfig,
    variables: dict,
    images: jax.Array,
    *,
    valid_size: jax.Array | None = None,
) -> Maps:
    """What the network reads: maps of the backbone in inference mode, or preprocessed pixels.

    Args:
      config: the network.
      variables: as from `init`.
      images: [B, H, W, 3] RGB, 0..255.
      valid_size: as for `apply`.

    Returns:
      {tap: [B, ceil(H / s), ceil(W / s), C]} with the stride s of each of `config.taps` (conv3_3:
      4 and 256 channels); {"pixels": [B, H, W, 3]} without a backbone. With a margin the maps are
      of the image with its mirrored context.
    """
    return _features(config, variables, images, valid_size)


def compile_features(
    config: NetworkConfig, variables: dict, images, *, valid_size=None
) -> jax.stages.Compiled:
    """`features` compiled, for later calls too; of arrays `jax.ShapeDtypeStruct` is enough."""
    return _features.lower(config, variables, images, valid_size).compile()


def head(
    config: NetworkConfig,
    variables: dict,
    maps: Maps,
    size: tuple[int, int],
    *,
    dropout_key: jax.Array | None = None,
    valid_size: jax.Array | None = None,
) -> jax.Array:
    """Logits [B, H, W, K] from the `features` of images of `size` (H, W); see `apply`."""
    return _head(config, variables, maps, size, dropout_key, valid_size)


def apply(
    config: NetworkConfig,
    variables: dict,
    images: jax.Array,
    dropout_key: jax.Array | None = None,
    valid_size: jax.Array | None = None,
) -> jax.Array:
    """Logits of the classes at every pixel.

    Args:
      config: the network.
      variables: as from `init`.
      images: [B, H, W, 3] RGB, 0..255, uint8 or float, of any H and W.
      dropout_key: drop at random, if the network has dropout; None (the default) drops nothing.
      valid_size: int32 [2], or [B, 2] of each, how many rows and columns belong to the images, if
        they do not fill the array: those give what they give by themselves, and the pixels beyond
        mean nothing (`reseg_jax.padding`).

    Returns:
      float32 [B, H, W, K]; a softmax over the last axis gives probabilities. With
      `config.void_class` there is one output more, void, after the classes.

    Raises:
      UserError: `images` have another shape or dtype, or are known to have values of another range,
        `variables` are those of another network, or `valid_size` is given to a network without
        exact padding.
    """
    images = as_array(images)
    check_images(images, single=False)
    check_variables(config, variables)
    below, above = _keys(config, dropout_key)
    maps = _features(config, variables, images, valid_size, below)
    return _head(config, variables, maps, images.shape[1:3], above, valid_size)


class Network(NamedTuple):
    """A network as training takes it: functions that say nothing of what it is.

    Attributes:
      init: `(key) -> variables`.
      features: `(variables, images, *, valid_size=None) -> maps`, in inference mode.
      logits: see `build`.
    """

    init: Callable[[jax.Array], dict]
    features: Callable[..., Maps]
    logits: Callable[..., jax.Array | tuple[jax.Array, dict]]


def build(config: NetworkConfig) -> Network:
    """The functions of a network.

    `logits(variables, inputs, size, *, train=False, dropout_key=None, valid_size=None,
    weight=None)` takes images [B, H, W, 3] or the maps that `features` gives, and the images'
    size (H, W). It returns logits [B, H, W, K], or with `train` `(logits, updates)`: updates
    are {"batch_stats": new running statistics, "aux": {name: auxiliary logits [B, H, W, K]}}.
    weight [B]: 0 for images that only fill the batch and must not reach the statistics. A network
    without exact padding takes what pads an image as part of it, whatever valid_size says.
    """

    def logits(
        variables, inputs, size, *, train=False, dropout_key=None, valid_size=None, weight=None
    ):
        if not config.exact_padding:
            valid_size = None
        if train:
            return _train(config, variables, inputs, size, dropout_key, valid_size, weight)
        if isinstance(inputs, dict):
            return _head(config, variables, inputs, size, dropout_key, valid_size)
        return apply(config, variables, inputs, dropout_key, valid_size)

    return Network(functools.partial(init, config), functools.partial(features, config), logits)


@functools.partial(jax.jit, static_argnums=0)
def _features(config, variables, images, valid_size, dropout_key=None):
    return _maps(config, variables, images, valid_size, dropout_key)[0]


@functools.partial(jax.jit, static_argnums=(0, 3))
def _head(config, variables, maps, size, dropout_key, valid_size):
    return _logits(config, variables, maps, size, valid_size, dropout_key)[0]


def _train(config, variables, inputs, size, dropout_key, valid_size, weight):
    """(logits, updates) with batch statistics in training mode, but for a frozen backbone's."""
    variables = {name: tree for name, tree in variables.items() if name != conv.TRANSFORMED}
    statistics = dict(variables.get("batch_stats", {}))
    below, above = (None, dropout_key) if isinstance(inputs, dict) else _keys(config, dropout_key)
    if not isinstance(inputs, dict):
        inputs, changed = _maps(
            config, variables, inputs, valid_size, below, not config.frozen, weight
        )
        statistics |= changed
    logits, changed = _logits(config, variables, inputs, size, valid_size, above, True, weight)
    auxiliary = {
        name: _to_image(config, found, size) for name, (found,) in changed.get("aux", {}).items()
    }
    statistics |= changed.get("batch_stats", {})
    return logits, {"aux": auxiliary} | ({"batch_stats": statistics} if statistics else {})


def _maps(config, variables, images, valid_size, dropout_key=None, train=False, weight=None):
    """(maps, changed statistics) of images."""
    if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape:
        raise UserError(f"images have shape {images.shape}: give [batch, height, width, 3] RGB")
    _check_valid_size(config, valid_size)
    pixels = preprocess(images, config.preprocessing, config.contrast)
    pixels = devices.spread(clear(_pad(config, pixels), valid_size))
    if not config.backbone:
        return {PIXELS: pixels}, {}
    name, home = config.backbone.name, "frozen" if config.frozen else "params"
    collections = {"params": variables[home][name]}
    for more in ("batch_stats", conv.TRANSFORMED):
        if name in variables.get(more, {}):
            collections[more] = variables[more][name]
    maps, changed = _backbone(config).apply(
        collections,
        pixels,
        train=train,
        weight=weight,
        valid_size=valid_size,
        rngs=_dropout(dropout_key),
        mutable=["batch_stats"] if train else [],
    )
    return maps, {name: changed["batch_stats"]} if "batch_stats" in changed else {}


def _backbone(config):
    """A frozen one computes in float32: its maps are kept, and other networks read them too."""
    return config.backbone.module(config.taps, "float32" if config.frozen else config.dtype)


def _pad(config, pixels):
    """Preprocessed [B, H, W, C] at `config.padded_size`: zeros, or the image mirrored in margins.

    Without margins the padding is at the bottom and right only, so cell (i, j) of every map begins
    at pixel (s i, s j), or lies on it with `config.align_corners`. Zeros are the mean color.
    """
    size, margin = pixels.shape[1:3], config.margin
    wanted = config.padded_size(size)
    widths = [(margin, have - used - margin) for have, used in zip(wanted, size, strict=True)]
    return jnp.pad(pixels, ((0, 0), *widths, (0, 0)), mode="symmetric" if margin else "constant")


def _logits(config, variables, maps, size, valid_size, dropout_key=None, train=False, weight=None):
    """(logits [B, H, W, K], changed collections) of maps."""
    _check_valid_size(config, valid_size)
    backbone = config.backbone.name if config.backbone else None
    collections = {
        name: {key: tree for key, tree in variables[name].items() if key != backbone}
        for name in ("params", "batch_stats", conv.TRANSFORMED)
        if name in variables
    }
    maps = {tap: devices.spread(found.astype(jnp.float32)) for tap, found in maps.items()}
    logits, changed = networks.build(config).apply(
        collections,
        maps,
        train=train,
        weight=weight,
        valid_size=valid_size,
        rngs=_dropout(dropout_key),
        mutable=["batch_stats", "aux"] if train else [],
    )
    return _to_image(config, logits, size), changed


def _to_image(config, logits, size):
    """[B, h, w, K] at the network's output stride -> [B, H, W, K].

    Pixel centers are aligned, or cell i with pixel s i (`config.align_corners`), and what was
    padded at the bottom and right is cropped.
    """
    strides = config.output_stride
    if strides == (1.0, 1.0):
        return logits[:, : size[0], : size[1]]
    corners = int(config.align_corners)
    full = tuple(
        round((cells - corners) * stride) + corners
        for cells, stride in zip(logits.shape[1:3], strides, strict=True)
    )
    # In the notation of `scale_and_translate`, which places pixel p at p + 1/2.
    shift = jnp.asarray([corners * (1 - stride) / 2 for stride in strides])
    logits = jax.image.scale_and_translate(
        logits,
        (logits.shape[0], *full, logits.shape[3]),
        (1, 2),
        jnp.asarray(strides),
        shift,
        "linear",
    )
    return logits[:, : size[0], : size[1]]


def check_config(config: NetworkConfig) -> None:
    """Checks that `config` is one, and no name or dict."""
    if not isinstance(config, NetworkConfig):
        raise UserError(f"config is a {type(config).__name__}: give a config, as ReSegConfig()")


def check_variables(config: NetworkConfig, variables: dict) -> None:
    """Checks that variables are a network's, by their names and shapes.

    Raises:
      UserError: one is missing or has another shape.
    """
    check_config(config)
    if not isinstance(variables, Mapping):
        raise UserError(f"variables are a {type(variables).__name__}: give what init or load gave")
    for path, shape in _shapes(config):
        found = variables
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        if getattr(found, "shape", None) != shape:
            have = f"has shape {found.shape}" if hasattr(found, "shape") else "is missing"
            raise UserError(
                f"{'/'.join(path)} {have} in variables, and this {type(config).__name__} needs "
                f"{shape}: give the variables of this network"
            )


@functools.cache
def _shapes(config):
    """(path, shape) of every variable of a network."""
    tree = jax.eval_shape(functools.partial(init, config), jax.random.key(0))
    paths, _ = jax.tree.flatten_with_path(tree)
    return [(tuple(step.key for step in path), leaf.shape) for path, leaf in paths]


def _keys(config, dropout_key):
    """(the backbone's, the network's): a frozen backbone drops nothing."""
    if dropout_key is None or config.backbone is None or config.frozen:
        return None, dropout_key
    return tuple(jax.random.split(dropout_key))


def _dropout(key):
    return {} if key is None else {"dropout": key}


def _check_valid_size(config, valid_size):
    if valid_size is not None and not config.exact_padding:
        raise UserError(
            f"this {type(config).__name__} sees the end of its array, so images must fill it: "
            "leave out valid_size and padded_size"
        )
