"""Local contrast normalization: what a neighborhood has in common is taken out of its pixels.

Jarrett, Kavukcuoglu, Ranzato and LeCun, "What is the Best Multi-Stage Architecture for Object
Recognition?", ICCV 2009. There the window spans all channels; here each has its own.

Dimension key: `B H W C` image axes.
"""

import jax
import jax.numpy as jnp
import numpy as np

# A Gaussian window of 9x9 pixels as in that paper, of the released library's deviation.
_RADIUS = 4
_SIGMA = 2.0


def subtract(images: jax.Array) -> jax.Array:
    """Images minus the Gaussian mean of their neighborhood, v = x - w * x.

    At the borders the weights of the pixels within the image are made to sum to 1, so that a
    constant image gives 0 everywhere.

    Args:
      images: float32 [B, H, W, C].

    Returns:
      float32 [B, H, W, C], in the units of the images.
    """
    # v is the same for x and x + c. With the corner at 0 a constant image is 0 before rounding
    # can leave anything of it.
    images = images - images[:, :1, :1]
    return images - _mean(images)


def divide(images: jax.Array) -> jax.Array:
    """`subtract`, divided by the deviation of the neighborhood.

        v / max(c, s)        s = sqrt(w * v^2), c = the mean of s over an image's channel

    so that noise is not made large where there is little contrast. An image without any gives 0.

    Args:
      images: float32 [B, H, W, C].

    Returns:
      float32 [B, H, W, C], without a unit.
    """
    different = subtract(images)
    deviation = jnp.sqrt(_mean(jnp.square(different)))
    divisor = jnp.maximum(deviation.mean((1, 2), keepdims=True), deviation)
    return different / jnp.where(divisor > 0, divisor, 1)


def _mean(images):
    """w * x with weights that sum to 1 within the image: along the columns, then along the rows."""
    for axis in (1, 2):
        length = images.shape[axis]
        total = _weigh(np.ones(length, np.float32), 0)
        total = total.reshape([length if axis == other else 1 for other in range(4)])
        images = _weigh(images, axis) / total
    return images


def _weigh(x, axis):
    """Sums over the window along an axis, 0 outside.

    Shifted copies added up: XLA makes one loop of them, and has no fast depthwise convolution.
    """
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    weights = np.exp(-0.5 * np.square(offsets / _SIGMA))
    length, widths = x.shape[axis], [(0, 0)] * x.ndim
    widths[axis] = (_RADIUS, _RADIUS)
    padded = jnp.pad(x, widths)
    return sum(
        float(weight) * jax.lax.slice_in_dim(padded, start, start + length, axis=axis)
        for start, weight in enumerate(weights)
    )
