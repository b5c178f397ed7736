"""The matrix products of a ReNet layer and nothing else: a lower bound for any way to write it.

The same products, of the same shapes, each waiting for the one before as in the layer, divided over
the devices in the same way; in place of gates, a sum. The peak of large square products says less:
a step multiplies [lines, U] by [U, G U], a shape that no library runs at its peak.

Dimension key: `T` steps, `N` lines, `D` features, `U` units, `G` gates, `B H W C` image axes.
"""

import jax
import jax.numpy as jnp

from reseg_jax import devices
from reseg_jax.recurrent.renet import to_patches
from reseg_jax.recurrent.sweep import GATES


def products(cell: str, params: dict, lines: jax.Array, reverse: bool) -> jax.Array:
    """A recurrence without gates, [T, N, D] -> [T, N, U]: h' = sum over G of (x W + b + h U).

    Its gradient is JAX's own and has the products of any gradient: h^T d, d U^T, x^T d, d W^T.
    """
    gates = len(GATES[cell])
    projected = lines @ params["input_kernel"] + params["bias"]
    recurrent_kernel = params["recurrent_kernel"]

    def step(state, inputs):
        state = sum(inputs) + sum(jnp.split(state @ recurrent_kernel, gates, axis=-1))
        return state, state

    initial = jnp.zeros((lines.shape[1], len(recurrent_kernel)), lines.dtype)
    inputs = tuple(jnp.split(projected, gates, axis=-1))
    return jax.lax.scan(step, initial, inputs, reverse=reverse)[1]


def renet_layer(cell: str, patch: int, params: dict, image: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, I, J, 2 U] by `products`; columns first, then rows."""

    def both_ways(pair, lines):  # [T, B, L, D], or a device's share of it
        steps, *parallel, features = lines.shape
        flat = lines.reshape(steps, -1, features)
        ways = [products(cell, pair["forward"], flat, False)]
        ways.append(products(cell, pair["backward"], flat, True))
        return jnp.concatenate(ways, axis=-1).reshape(steps, *parallel, -1)

    columns = to_patches(image, (patch, patch)).transpose(1, 0, 2, 3)
    swept = devices.over_lines(both_ways, params["vertical"], columns)
    rows = swept.transpose(2, 1, 0, 3)
    return devices.over_lines(both_ways, params["horizontal"], rows).transpose(1, 2, 0, 3)
