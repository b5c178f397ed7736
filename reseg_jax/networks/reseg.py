"""The trained part of the network as Flax modules: ReNet layers, upsampling, skips, classifier.

Modules own parameters and their initial values, and call the pure functions that compute.

Dimension key: `B H W` image axes, `I J` cells of a feature map, `C D F` channels, `U` units of a
direction, `K` classes.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax import devices
from reseg_jax.config import VGG_LAYERS, ReSegConfig
from reseg_jax.layers.conv import Convolution
from reseg_jax.layers.upsample import TransposedConv, arrange
from reseg_jax.padding import cells_inside, clear
from reseg_jax.recurrent.linear_cells import PARALLEL_CELLS
from reseg_jax.recurrent.renet import renet_layer, to_patches
from reseg_jax.recurrent.sweep import GATES


def _pair_init(
    key: jax.Array, features: int, units: int, cell: str, chained: bool, initialization: str
) -> dict:
    """Parameters of a sublayer: Glorot input and orthonormal recurrent kernels, gate by gate.

    Section 4.2: recurrent matrices "orthonormal", after Saxe et al. 2014. Input kernels are
    Glorot like the other layers; the released code ("normal") draws both from N(0, 0.1). Zero
    biases. A cell whose gates do not read the state has no recurrent kernel.
    """
    gates = len(GATES[cell])
    input_init, recurrent_init = {
        "orthonormal": (nn.initializers.glorot_uniform(), nn.initializers.orthogonal()),
        "normal": (nn.initializers.normal(0.1), nn.initializers.normal(0.1)),
    }[initialization]

    def kernels(init, keys, rows):
        """[len(keys) / G, rows, G U]: one draw a gate."""
        # `lax.map` and not `vmap`: a batched QR decomposition, which orthonormal draws need,
        # waits on the pool of threads that it runs in; two of them at once wait for ever on two
        # cores (seen with jaxlib 0.10.2).
        drawn = jax.lax.map(lambda key: init(key, (rows, units)), keys)
        drawn = drawn.reshape(-1, gates, rows, units)
        return drawn.swapaxes(1, 2).reshape(-1, rows, gates * units)

    # A key for each direction's gates, the forward ones first.
    input_keys, recurrent_keys = (jax.random.split(k, 2 * gates) for k in jax.random.split(key))
    (forward,) = kernels(input_init, input_keys[:gates], features)
    (backward,) = kernels(input_init, input_keys[gates:], units if chained else features)
    pair = {
        way: {"input_kernel": input_kernel, "bias": jnp.zeros(gates * units)}
        for way, input_kernel in (("forward", forward), ("backward", backward))
    }
    if cell not in PARALLEL_CELLS:
        both = kernels(recurrent_init, recurrent_keys, units)
        for way, recurrent_kernel in zip(pair, both, strict=True):
            pair[way]["recurrent_kernel"] = recurrent_kernel
    return pair


class ReNet(nn.Module):
    """`renet_layer` number `layer` of the config, with its parameters."""

    config: ReSegConfig
    layer: int

    @nn.compact
    def __call__(self, x: jax.Array, inside: jax.Array | None = None) -> jax.Array:
        config, units = self.config, self.config.units[self.layer]
        h, w = patch_size = config.patch_sizes[self.layer]
        features = {config.order[0]: h * w * x.shape[-1], config.order[1]: 2 * units}
        params = {
            direction: self.param(
                direction,
                _pair_init,
                features[direction],
                units,
                config.cell,
                config.chained,
                config.initialization,
            )
            for direction in config.order
        }
        return renet_layer(
            params,
            x,
            patch_size,
            config.cell,
            config.order,
            inside,
            chained=config.chained,
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
    def __call__(self, x: jax.Array, inside: jax.Array | None = None) -> jax.Array:
        x = to_patches(clear(x, inside), self.config.patch_sizes[self.layer])
        for _ in self.config.order:
            width = 2 * self.config.units[self.layer]
            x = nn.relu(nn.Dense(width, kernel_init=nn.initializers.glorot_uniform())(x))
        return x


class Skip(nn.Module):
    """Activations of the VGG joined to the upsampled ones of the same stride: ours.

    Concatenated and mixed by a 1x1 convolution with ReLU, as wide as the upsampling is. With
    `refine` a 3x3 convolution then adds what neighbours tell: relu(x + convolution(x)).
    """

    normalize: bool
    refine: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, skip: jax.Array, inside: jax.Array | None = None) -> jax.Array:
        """x [B, h, w, F], skip [B, <= h, <= w, C] -> [B, h, w, F]; padding is at the far ends.

        inside: pixels of x that count (`reseg_jax.padding`); beyond its own, a skip is zero.
        """
        skip = devices.spread(skip)
        if self.normalize:
            skip = jax.nn.standardize(skip)
        missing = [(0, have - got) for have, got in zip(x.shape[1:3], skip.shape[1:3], strict=True)]
        skip = jnp.pad(skip, ((0, 0), *missing, (0, 0)))
        width = x.shape[-1]
        kernel = self.param(
            "kernel", nn.initializers.glorot_uniform(), (width + skip.shape[-1], width)
        )
        bias = self.param("bias", nn.initializers.zeros, (width,))
        # The product of the two concatenated, without copying them together.
        x = nn.relu(x @ kernel[:width] + skip @ kernel[width:] + bias)
        if self.refine:
            x = nn.relu(x + Convolution(width, name="refine")(clear(x, inside)))
        return x


class Head(nn.Module):
    """Everything above the features: ReNet layers, upsampling, classifier.

    With `train`, dropout (where the config has it) is on, and wants an rng named "dropout".
    """

    config: ReSegConfig
    train: bool = False

    @nn.compact
    def __call__(
        self,
        features: jax.Array | tuple[jax.Array, ...],
        size: tuple[int, int],
        inside: jax.Array | None = None,
    ) -> jax.Array:
        """Logits [B, H, W, K] of images of `size` (H, W).

        features: [B, I, J, C]; with `config.skips` a tuple, then [B, h, w, C] of each skip's layer.
        inside: cells of the first, [I', J'] or one such an image, that count (`reseg_jax.padding`).
        """
        config = self.config
        x, *skips = features if isinstance(features, tuple) else (features,)
        x = devices.spread(x)
        layer = {"renet": ReNet, "pointwise": Pointwise}[config.context]
        for i in range(len(config.units)):
            if config.layer_norm:
                # No scale and shift of its own: the linear map that follows has both.
                x = jax.nn.standardize(x)
            x = layer(config, i, name=f"renet_{i}")(x, inside)
            inside = None if inside is None else cells_inside(inside, config.patch_sizes[i])
            if config.dropout:
                x = nn.Dropout(config.dropout, deterministic=not self.train)(x)
        full = tuple(
            cells * stride for cells, stride in zip(x.shape[1:3], config.stride, strict=True)
        )
        layers = zip(config.upsample_channels, config.upsample_sizes, strict=True)
        for i, (channels, upsample_size) in enumerate(layers):
            x = TransposedConv(channels, upsample_size, name=f"upsample_{i}")(x)
            inside = None if inside is None else inside * jnp.asarray(upsample_size, jnp.int32)
            joining = [
                (name, skip)
                for name, skip in zip(config.skips, skips, strict=True)
                if VGG_LAYERS[name][1] == config.upsample_strides[i]
            ]
            # The classifier looks at each pixel alone, and leaves fewer numbers to arrange.
            if joining or i + 1 < len(config.upsample_sizes):
                x = arrange(x)
            for name, skip in joining:
                x = Skip(config.layer_norm, config.refine, name=f"skip_{name}")(x, skip, inside)
        x = nn.Dense(
            config.outputs, kernel_init=nn.initializers.glorot_uniform(), name="classifier"
        )(x)
        if not joining:
            x = arrange(x)
        if x.shape[1:3] != full:
            # Upsampling that does not undo the strides (Table 4 as printed ends at half
            # resolution) is made good by interpolation, pixel centres aligned.
            x = jax.image.resize(x, (x.shape[0], *full, x.shape[3]), "linear")
        # Everything was padded at the bottom and the right alone, so cropping there aligns.
        return x[:, : size[0], : size[1]]
