"""ReSeg: VGG features -> ReNet layers -> transposed convolutions -> classifier (paper section 3).

Modules own the parameters, `init` and `apply` are the way in, and `features` and `head` are the
two flights of the staircase: what is frozen and what is trained.

Dimension key: `B H W` image axes, `I J` cells of a feature map, `C D` channels, `U` units of a
direction, `K` classes.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax import devices
from reseg_jax.config import ReSegConfig
from reseg_jax.errors import UserError
from reseg_jax.parallel_cells import PARALLEL_CELLS
from reseg_jax.renet import renet_layer, to_patches
from reseg_jax.sweep import GATES
from reseg_jax.upsample import TransposedConv
from reseg_jax.vgg import VGG, preprocess


def _pair_init(key: jax.Array, features: int, units: int, cell: str) -> dict:
    """Parameters of a sublayer: Glorot input and orthonormal recurrent kernels, gate by gate.

    Section 4.2: recurrent matrices "orthonormal", after Saxe et al. 2014. Input kernels are
    Glorot like the other layers; the released code draws both from N(0, 0.1). Zero biases. A
    cell whose gates do not read the state has no recurrent kernel.
    """
    gates = len(GATES[cell])

    def kernels(init, key, rows):
        """[2, rows, G U]: one draw a direction and gate."""
        # `lax.map` and not `vmap`: a batched QR decomposition, which orthonormal draws need,
        # waits on the pool of threads that it runs in; two of them at once wait for ever on two
        # cores (seen with jaxlib 0.10.2).
        drawn = jax.lax.map(lambda key: init(key, (rows, units)), jax.random.split(key, 2 * gates))
        drawn = drawn.reshape(2, gates, rows, units)
        return drawn.swapaxes(1, 2).reshape(2, rows, gates * units)

    input_key, recurrent_key = jax.random.split(key)
    pair = {
        "input_kernel": kernels(nn.initializers.glorot_uniform(), input_key, features),
        "bias": jnp.zeros((2, gates * units)),
    }
    if cell not in PARALLEL_CELLS:
        orthonormal = nn.initializers.orthogonal()
        pair["recurrent_kernel"] = kernels(orthonormal, recurrent_key, units)
    return {
        direction: {name: values[i] for name, values in pair.items()}
        for i, direction in enumerate(("forward", "backward"))
    }


class ReNet(nn.Module):
    """`renet_layer` number `layer` of the config, with its parameters."""

    config: ReSegConfig
    layer: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        config, units = self.config, self.config.units[self.layer]
        h, w = patch_size = config.patch_sizes[self.layer]
        features = {config.order[0]: h * w * x.shape[-1], config.order[1]: 2 * units}
        params = {
            direction: self.param(direction, _pair_init, features[direction], units, config.cell)
            for direction in config.order
        }
        return renet_layer(
            params,
            x,
            patch_size,
            config.cell,
            config.order,
            unroll=config.unroll,
            recompute=config.recompute,
            implementation=config.implementation,
        )


class Pointwise(nn.Module):
    """In place of a ReNet layer (`context="pointwise"`): no cell sees another.

    A 1x1 convolution with ReLU for each of the two sublayers, as wide as they are: 2 U.
    """

    config: ReSegConfig
    layer: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = to_patches(x, self.config.patch_sizes[self.layer])
        for _ in self.config.order:
            width = 2 * self.config.units[self.layer]
            x = nn.relu(nn.Dense(width, kernel_init=nn.initializers.glorot_uniform())(x))
        return x


class Head(nn.Module):
    """Everything above the features: ReNet layers, upsampling, classifier."""

    config: ReSegConfig

    @nn.compact
    def __call__(self, x: jax.Array, size: tuple[int, int]) -> jax.Array:
        """[B, I, J, C] features of an image of `size` (H, W) -> logits [B, H, W, K]."""
        config = self.config
        x = devices.spread(x)
        layer = {"renet": ReNet, "pointwise": Pointwise}[config.context]
        for i in range(len(config.units)):
            x = layer(config, i, name=f"renet_{i}")(x)
        full = tuple(
            cells * stride for cells, stride in zip(x.shape[1:3], config.stride, strict=True)
        )
        layers = zip(config.upsample_channels, config.upsample_sizes, strict=True)
        for i, (channels, upsample_size) in enumerate(layers):
            x = TransposedConv(channels, upsample_size, name=f"upsample_{i}")(x)
        x = nn.Dense(
            config.num_classes, kernel_init=nn.initializers.glorot_uniform(), name="classifier"
        )(x)
        if x.shape[1:3] != full:
            # Upsampling that does not undo the strides (Table 4 as printed ends at half
            # resolution) is made good by interpolation, pixel centres aligned.
            x = jax.image.resize(x, (x.shape[0], *full, x.shape[3]), "linear")
        # Everything was padded at the bottom and the right alone, so cropping there aligns.
        return x[:, : size[0], : size[1]]


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
    x, vgg = VGG(config.vgg_layer).init_with_output(vgg_key, pixels)
    params = Head(config).init(head_key, x, (1, 1))["params"]
    if config.finetune_vgg:
        return {"params": {**params, "vgg": vgg["params"]}}
    return {"params": params, "frozen": {"vgg": vgg["params"]}}


@functools.partial(jax.jit, static_argnums=0)
def features(config: ReSegConfig, variables: dict, images: jax.Array) -> jax.Array:
    """What the first ReNet layer reads: VGG activations after ReLU, or preprocessed pixels.

    images [B, H, W, 3] RGB 0..255 -> [B, ceil(H / s), ceil(W / s), C] with the stride s and
    channels C of `config.vgg_layer` (conv3_3: 4 and 256).
    """
    if images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape:
        raise UserError(f"images have shape {images.shape}: give [batch, height, width, 3] RGB")
    pixels = preprocess(images, config.preprocessing)
    if not config.vgg_layer:
        return pixels
    home = "params" if config.finetune_vgg else "frozen"
    return VGG(config.vgg_layer).apply({"params": variables[home]["vgg"]}, pixels)


@functools.partial(jax.jit, static_argnums=(0, 3))
def head(
    config: ReSegConfig, variables: dict, features: jax.Array, size: tuple[int, int]
) -> jax.Array:
    """Logits [B, H, W, K] from `features` of images of `size` (H, W)."""
    params = {name: tree for name, tree in variables["params"].items() if name != "vgg"}
    return Head(config).apply({"params": params}, features.astype(jnp.float32), size)


def apply(config: ReSegConfig, variables: dict, images: jax.Array) -> jax.Array:
    """Logits of the classes at every pixel.

    images: [B, H, W, 3] RGB, 0..255, uint8 or float, of any H and W.
    Returns float32 [B, H, W, K]; a softmax over the last axis gives probabilities.
    """
    return head(config, variables, features(config, variables, images), images.shape[1:3])
