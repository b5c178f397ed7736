"""ReNet layers as Flax modules: they own the parameters, `reseg_jax.recurrent` computes.

Dimension key: `B H W` image axes, `I J` cells, `C D` channels, `U` units of a direction.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

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
    input_init, recurrent_init = {
        "orthonormal": (nn.initializers.glorot_uniform(), nn.initializers.orthogonal()),
        "normal": (nn.initializers.normal(0.1), nn.initializers.normal(0.1)),
    }[initialization]

    def kernels(init, keys, rows):
        """[len(keys) / G, rows, G U]: one draw per gate."""
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
    if cell not in LINEAR_CELLS:
        both = kernels(recurrent_init, recurrent_keys, units)
        for way, recurrent_kernel in zip(pair, both, strict=True):
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
        )


class Pointwise(nn.Module):
    """In place of a ReNet layer: as wide and as deep, but no cell sees another.

    A 1x1 convolution with ReLU for each of the two sublayers, of 2 U channels: the ablation that
    shows what the sweeps are for.
    """

    units: int
    patch_size: tuple[int, int] = (1, 1)

    @nn.compact
    def __call__(self, x: jax.Array, valid_size: jax.Array | None = None) -> jax.Array:
        x = to_patches(clear(x, valid_size), self.patch_size)
        for _ in range(2):
            x = nn.Dense(2 * self.units, kernel_init=nn.initializers.glorot_uniform())(x)
            x = nn.relu(x)
        return x
