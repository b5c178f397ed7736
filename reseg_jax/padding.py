"""Images that do not fill their array: what is outside of them is kept from being seen.

An image then gives what it gives in an array of its own: convolutions and patches find zeros beyond
its last pixel, as padding is, and backward sweeps begin at its last cell (`reseg_jax.sweep`). How
large it is may be traced, so that one compiled program serves images of many sizes.

Dimension key: `B H W C` image axes. `inside` is int32, how many rows and columns are the image's:
[2] of all images alike, [B, 2] of each, or None where all are.
"""

import jax
import jax.numpy as jnp


def cells_inside(inside: jax.Array, size: int | tuple[int, int]) -> jax.Array:
    """How many rows and columns of cells of `size` pixels it fills, the last ones in part."""
    return -(-inside // jnp.asarray(size, jnp.int32))


def sides(inside: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(rows, columns), each [] or [B]."""
    inside = jnp.asarray(inside)
    return inside[..., 0], inside[..., 1]


def clear(x: jax.Array, inside: jax.Array | None) -> jax.Array:
    """[B, H, W, C] with zeros outside."""
    if inside is None:
        return x
    rows, columns = (
        jnp.arange(length) < n[..., None]
        for length, n in zip(x.shape[1:3], sides(inside), strict=True)
    )
    return jnp.where((rows[..., :, None] & columns[..., None, :])[..., None], x, 0)
