"""ReSeg: VGG features -> ReNet layers -> transposed convolutions -> classifier (paper section 3).

`init` and `apply` are the way in, and `features` and `head` are the two flights of the staircase:
what is frozen and what is trained.

Dimension key: `B H W` image axes, `I J` cells of a feature map, `C` channels, `K` classes.
"""

import functools

import jax
import jax.numpy as jnp

from reseg_jax.backbones.vgg import VGG, preprocess
from reseg_jax.config import VGG_LAYERS, ReSegConfig
from reseg_jax.errors import UserError
from reseg_jax.networks.reseg import Head
from reseg_jax.padding import cells_inside, clear


def init(config: ReSegConfig, key: jax.Array) -> dict:
    """Random variables of the network: `{"params": ..., "frozen": {"vgg": ...}}`.

    `frozen` holds the VGG, out of reach of gradients and optimiser, unless
    `config.finetune_vgg` puts it among `params`, or there is none. The VGG is random too: load
    ImageNet weights with `reseg_jax.use_vgg_weights`. Parameter names are those of
    `ReSegConfig`'s layers: `renet_0/vertical/forward/input_kernel`, `upsample_0/kernel`,
    `classifier/kernel`, `vgg/conv1_1/kernel`, ...
    """
    return _init(config, key)


@functools.partial(jax.jit, static_argnums=0)
def _init(config, key):
    vgg_key, head_key = jax.random.split(key)
    pixels = jnp.zeros((1, 1, 1, 3))
    if not config.vgg_layer:
        return {"params": Head(config).init(head_key, pixels, (1, 1))["params"]}
    x, vgg = VGG(config.vgg_layer, config.skips).init_with_output(vgg_key, pixels)
    params = Head(config).init(head_key, x, (1, 1))["params"]
    if config.finetune_vgg:
        return {"params": {**params, "vgg": vgg["params"]}}
    return {"params": params, "frozen": {"vgg": vgg["params"]}}


@functools.partial(jax.jit, static_argnums=0)
def features(
    config: ReSegConfig, variables: dict, images: jax.Array, inside: jax.Array | None = None
) -> jax.Array | tuple[jax.Array, ...]:
    """What the first ReNet layer reads: VGG activations after ReLU, or preprocessed pixels.

    images [B, H, W, 3] RGB 0..255 -> [B, ceil(H / s), ceil(W / s), C] with the stride s and
    channels C of `config.vgg_layer` (conv3_3: 4 and 256). With `config.skips` a tuple: these,
    then the activations of each skip's layer. `inside`: as for `apply`.
    """
    if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape:
        raise UserError(f"images have shape {images.shape}: give [batch, height, width, 3] RGB")
    if inside is not None and config.sees_end:
        raise UserError(
            f"with contrast={config.contrast}, upsample_sizes={config.upsample_sizes} images must "
            "fill their array: give no canvas, or nothing for inside"
        )
    pixels = preprocess(images, config.preprocessing, config.contrast)
    if not config.vgg_layer:
        return clear(pixels, inside)
    home = "params" if config.finetune_vgg else "frozen"
    vgg = VGG(config.vgg_layer, config.skips)
    return vgg.apply({"params": variables[home]["vgg"]}, pixels, inside)


@functools.partial(jax.jit, static_argnums=(0, 3))
def head(
    config: ReSegConfig,
    variables: dict,
    features: jax.Array | tuple[jax.Array, ...],
    size: tuple[int, int],
    dropout_key: jax.Array | None = None,
    inside: jax.Array | None = None,
) -> jax.Array:
    """Logits [B, H, W, K] from `features` of images of `size` (H, W); see `apply`."""
    params = {name: tree for name, tree in variables["params"].items() if name != "vgg"}
    features = jax.tree.map(lambda map: map.astype(jnp.float32), features)
    rngs = {} if dropout_key is None else {"dropout": dropout_key}
    if inside is not None and config.vgg_layer:
        inside = cells_inside(inside, VGG_LAYERS[config.vgg_layer][1])
    layers = Head(config, train=bool(rngs))
    return layers.apply({"params": params}, features, size, inside, rngs=rngs)


def apply(
    config: ReSegConfig,
    variables: dict,
    images: jax.Array,
    dropout_key: jax.Array | None = None,
    inside: jax.Array | None = None,
) -> jax.Array:
    """Logits of the classes at every pixel.

    images: [B, H, W, 3] RGB, 0..255, uint8 or float, of any H and W.
    dropout_key: where `config.dropout` is not 0, drop at random; None (the default) drops nothing.
    inside: int32 [2], or [B, 2] of each, how many rows and columns are the images', where they do
      not fill the array: those give what they give alone, and the pixels beyond mean nothing
      (`reseg_jax.padding`).
    Returns float32 [B, H, W, K]; a softmax over the last axis gives probabilities. With
    `config.void_class` there is one output more, void, behind the classes.
    """
    mapped = features(config, variables, images, inside)
    return head(config, variables, mapped, images.shape[1:3], dropout_key, inside)
