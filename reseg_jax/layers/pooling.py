"""Max pooling over 2x2 pixels and over windows with a middle, and unpooling by switches.

Dimension key: `B H W C` image axes, `h w` those of the pooled map: ceil(H / 2), ceil(W / 2).
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
    # Not `nn.max_pool`: XLA is slow with the gradient of a reduction over windows.
    return functools.reduce(jnp.maximum, _places(x))


def max_pool_centered(x: jax.Array, size: int, stride: int = 1) -> jax.Array:
    """Maxima over `size` x `size` pixels around every `stride`-th pixel.

    Args:
      x: float [B, H, W, C].
      size: odd. ResNet and DeepLab have 3 and stride 2, in PyTorch's words with a padding of 1.
      stride: pixels from one window to the next.

    Returns:
      [B, ceil(H / stride), ceil(W / stride), C]. What a window lacks never wins.
    """
    reach = size // 2
    for axis in (1, 2):  # a maximum of maxima: each axis by itself
        side = x.shape[axis]
        around = [(reach, reach) if axis == other else (0, 0) for other in range(x.ndim)]
        padded = jnp.pad(x, around, constant_values=-jnp.inf)
        shifted = (
            jax.lax.slice_in_dim(padded, first, first + side, stride, axis) for first in range(size)
        )
        x = functools.reduce(jnp.maximum, shifted)
    return x


def max_pool_with_switches(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`max_pool`, and where in its window each maximum was.

    Args:
      x: float [B, H, W, C].

    Returns:
      (maxima, switches), both [B, h, w, C]; switches are uint8: 0 and 1 for the window's upper
      left and right pixel, 2 and 3 for the lower ones; the first of equal pixels.
    """
    *first, _ = places = _places(x)
    pooled = functools.reduce(jnp.maximum, places)
    switches = jnp.full(pooled.shape, len(first), jnp.uint8)
    for number, place in reversed(list(enumerate(first))):
        switches = jnp.where(place == pooled, jnp.uint8(number), switches)
    return pooled, switches


def unpool(x: jax.Array, switches: jax.Array, size: tuple[int, int] | None = None) -> jax.Array:
    """Values where the maxima of a pooling were, zeros elsewhere (Zeiler and Fergus 2014).

    Args:
      x: [B, h, w, C].
      switches: [B, h, w, C], as from `max_pool_with_switches`.
      size: (H, W) of what was pooled; None for (2 h, 2 w).

    Returns:
      [B, H, W, C].
    """
    batch, height, width, channels = x.shape
    placed = jnp.stack([jnp.where(switches == place, x, 0) for place in range(4)])
    placed = placed.reshape(2, 2, *x.shape).transpose(2, 3, 0, 4, 1, 5)
    whole = placed.reshape(batch, 2 * height, 2 * width, channels)
    return whole if size is None else whole[:, : size[0], : size[1]]


def _places(x):
    """The four pixels of every window, each [B, h, w, C]; -inf is beyond the image."""
    height, width = x.shape[1:3]
    if height % 2 or width % 2:
        missing = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
        x = jnp.pad(x, missing, constant_values=-jnp.inf)
    return [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
