"""Batch normalization that is not reached by what only fills an array, and local responses.

Dimension key: `B H W` image axes, `C` channels.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax.padding import clear


class BatchNorm(nn.BatchNorm):
    """Channels normalized over a batch (Ioffe and Szegedy 2015, algorithm 1).

        y = scale (x - mean) / sqrt(var + epsilon) + bias

    In training mean and variance are the batch's, and their running averages are updated in the
    collection "batch_stats" (`mean` and `var`, [C] each); in inference they are those averages.
    The running variance is Flax's, without the factor m / (m - 1) of algorithm 2, which is 1
    within rounding over the m pixels of a batch.

    Attributes:
      momentum: share of the running average that an update keeps. 0.9 is PyTorch's default
        (called 0.1 there), with which torchvision's networks were trained.
      epsilon: added to the variance; the default of PyTorch, Caffe and Flax.
      output_dtype: of what is returned; all is computed in float32. None: x's.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    # The fast one, E[x^2] - E[x]^2, loses the digits of channels that are far from 0.
    use_fast_variance: bool = False
    output_dtype: str | None = None

    def __call__(
        self,
        x: jax.Array,
        *,
        train: bool,
        weight: jax.Array | None = None,
        valid_size: jax.Array | None = None,
    ) -> jax.Array:
        """Normalizes a batch.

        Args:
          x: [B, H, W, C]; without `valid_size` any [B, ..., C].
          train: normalize by the statistics of the batch, and update their running averages.
          weight: [B], 0 for images that only fill the batch: they do not reach the statistics,
            nor the other images through them. At least one is not 0. None if all count.
          valid_size: pixels that count, int32 [2] or [B, 2] (`reseg_jax.padding`); None if all do.

        Returns:
          Of the shape of x; what does not count is normalized like the rest.
        """
        mask = None
        if weight is not None or valid_size is not None:
            mask = jnp.ones((*x.shape[:-1], 1))
            if weight is not None:
                mask = jnp.where((weight != 0).reshape(-1, *(1,) * (x.ndim - 1)), mask, 0)
            mask = clear(mask, valid_size)
        if self.output_dtype is None:
            return super().__call__(x, use_running_average=not train, mask=mask)
        x = super().__call__(x.astype(jnp.float32), use_running_average=not train, mask=mask)
        return x.astype(self.output_dtype)


def local_response_norm(
    x: jax.Array, size: int = 5, alpha: float = 1e-4, beta: float = 0.75
) -> jax.Array:
    """Each channel by the energy of its neighbors (Krizhevsky et al. 2012, section 3.3).

        y_c = x_c / (1 + alpha / size * sum_{|d - c| <= size // 2} x_d^2)^beta

    Args:
      x: [..., C].
      size: channels in a neighborhood, odd. The numbers and the division by it are Caffe's.
      alpha: of the sum's mean.
      beta: the power.

    Returns:
      [..., C].
    """
    channels, reach = x.shape[-1], size // 2
    near = [(0, 0)] * (x.ndim - 1) + [(reach, reach)]
    squares = jnp.pad(x**2, near)
    energy = sum(squares[..., shift : shift + channels] for shift in range(size))
    return x / (1 + alpha / size * energy) ** beta
