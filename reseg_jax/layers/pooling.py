"""Max pooling.

Dimension key: `B H W C` image axes.
"""

import functools

import jax
import jax.numpy as jnp


def max_pool(x: jax.Array) -> jax.Array:
    """Maxima over 2x2 pixels at stride 2; odd sizes are rounded up, as in Caffe.

    Args:
      x: float [B, H, W, C].

    Returns:
      [B, ceil(H / 2), ceil(W / 2), C]. What a window lacks at the bottom or right never wins.
    """
    height, width = x.shape[1:3]
    if height % 2 or width % 2:
        missing = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
        x = jnp.pad(x, missing, constant_values=-jnp.inf)
    # Not `nn.max_pool`: XLA is slow with the gradient of a reduction over windows.
    return functools.reduce(jnp.maximum, (x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)))
