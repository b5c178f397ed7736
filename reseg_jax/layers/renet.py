"""ReNet layers as Flax modules: they own the parameters, `reseg_jax.recurrent` computes.

Dimension key: `B H W` image axes, `I J` cells, `C D` channels, `U` units of a direction.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax.layers import initializers
from reseg_jax.padding import clear
from reseg_jax.recurrent.linear_cells import LINEAR_CELLS
from reseg_jax.recurrent.renet import renet_layer, to_patches
from reseg_jax.recurrent.sweep import GATES

INITIALIZATIONS = ("orthonormal", "normal")


def init_pair(
    key: jax.Array, features: int, units: int, cell: str, chained: bool, initialization: str
) -> dict:
    """Parameters of a sublayer: Glorot input and orthonormal recurrent kernels, gate by gate.

    Section 4.2: recurrent matrices "orthonormal", after Saxe et al. 2014. Input kernels are
    Glorot like the other layers; the released code ("normal") draws both from N(0, 0.1). Zero
    biases. A cell whose gates do not read the state has no recurrent kernel.

    Args:
      key: a random key.
      features: D, what a step reads.
      units: U of each direction.
      cell: a name in `reseg_jax.recurrent.sweep.GATES`, of G gates.
      chained: the backward sweep reads the U outputs of the forward one.
      initialization: a name in `INITIALIZATIONS`.

    Returns:
      {"forward", "backward"}: {"input_kernel" [D, G U], "recurrent_kernel" [U, G U], "bias" [G U]}.
    """
    gates = len(GATES[cell])
    input_init = {"orthonormal": initializers.glorot_uniform, "normal": initializers.gaussian(0.1)}

    def side_by_side(kernels):
        """[rows, G U] of each G kernels [rows, U]: a draw per gate."""
        return [
            jnp.concatenate(kernels[first : first + gates], axis=1)
            for first in range(0, len(kernels), gates)
        ]

    # A key for each direction's gates, the forward ones first.
    input_keys, recurrent_keys = (jax.random.split(k, 2 * gates) for k in jax.random.split(key))
    rows = [features] * gates + [units if chained else features] * gates
    drawn = [
        input_init[initialization](key, (count, units))
        for key, count in zip(input_keys, rows, strict=True)
    ]
    forward, backward = side_by_side(drawn)
    pair = {
        way: {"input_kernel": input_kernel, "bias": jnp.zeros(gates * units)}
        for way, input_kernel in (("forward", forward), ("backward", backward))
    }
    if cell not in LINEAR_CELLS:
        if initialization == "orthonormal":
            drawn = list(initializers.orthonormal(recurrent_keys, units))
        else:
            drawn = [initializers.gaussian(0.1)(key, (units, units)) for key in recurrent_keys]
        for way, recurrent_kernel in zip(pair, side_by_side(drawn), strict=True):
            pair[way]["recurrent_kernel"] = recurrent_kernel
    return pair


class ReNet(nn.Module):
    """`reseg_jax.renet_layer` with its parameters; the fields are its arguments.

    Maps [B, H, W, C] to [B, ceil(H / h), ceil(W / w), 2 U]; every output cell has seen all of the
    image (Visin et al. 2015, "ReNet"). Parameters are named by direction and way:
    `vertical/forward/input_kernel`, ...
    """

    units: int
    patch_size: tuple[int, int] = (1, 1)  # (height, width)
    cell: str = "gru"
    order: tuple[str, str] = ("vertical", "horizontal")
    chained: bool = False
    initialization: str = "orthonormal"
    unroll: int | bool = 1
    remat: bool = False
    implementation: str = "scan"
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, valid_size: jax.Array | None = None) -> jax.Array:
        h, w = self.patch_size
        features = {self.order[0]: h * w * x.shape[-1], self.order[1]: 2 * self.units}
        params = {
            direction: self.param(
                direction,
                init_pair,
                features[direction],
                self.units,
                self.cell,
                self.chained,
                self.initialization,
            )
            for direction in self.order
        }
        return renet_layer(
            params,
            x,
            self.patch_size,
            self.cell,
            self.order,
            valid_size,
            chained=self.chained,
            unroll=self.unroll,
            remat=self.remat,
            implementation=self.implementation,
            dtype=self.dtype,
        )


class Pointwise(nn.Module):
    """In place of a ReNet layer: as wide and as deep, but no cell sees another.

    A 1x1 convolution with ReLU for each of the two sublayers, of 2 U channels: the ablation that
    shows what the sweeps are for.
    """

    units: int
    patch_size: tuple[int, int] = (1, 1)
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, valid_size: jax.Array | None = None) -> jax.Array:
        x = to_patches(clear(x, valid_size), self.patch_size)
        for _ in range(2):
            x = nn.Dense(2 * self.units, dtype=self.dtype, kernel_init=initializers.glorot_uniform)(
                x
            )
            x = nn.relu(x)
        return x
