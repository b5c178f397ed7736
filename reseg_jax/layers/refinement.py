"""RefineNet's parts: residual units, fusion of maps of several sizes, chained residual pooling.

Paper: Lin, Milan, Shen and Reid, "RefineNet: Multi-path refinement networks for high-resolution
semantic segmentation", CVPR 2017, section 3.2 and figure 3.

    residual conv unit         x' = x + second(relu(first(relu(x))))
    fusion                     x' = the sum of upsample(convolution(x_i))
    chained residual pooling   x' = sum of y_i,  y_0 = relu(x),  y_i = convolution(pool(y_{i-1}))

with 3x3 convolutions, maxima over 5x5 pixels at stride 1, and no normalization. So that sums do not
grow from part to part, what is added to an identity begins at zero (Zhang, Dauphin and Ma, "Fixup
initialization", ICLR 2019, section 3): our choice. Convolutions have no bias: so does the count of
parameters come out.

Dimension key: `B H W` image axes, `C` channels.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax

from reseg_jax.layers.conv import Convolution
from reseg_jax.layers.initializers import he_normal
from reseg_jax.layers.pooling import max_pool_centered
from reseg_jax.layers.upsample import align_corners_upsample

_WINDOW = 5  # pixels to a side of a pooling (section 3.2)


class ResidualConvUnit(nn.Module):
    """[B, H, W, C] -> [B, H, W, C]: the identity at first; parameters below `first` and `second`.

    Attributes:
      dtype: of the convolutions, see `reseg_jax.layers.mixed`; None: x's.
    """

    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shared = {"channels": x.shape[-1], "use_bias": False, "dtype": self.dtype}
        first = Convolution(kernel_init=he_normal, name="first", **shared)
        second = Convolution(kernel_init=nn.initializers.zeros, name="second", **shared)
        return x + second(nn.relu(first(nn.relu(x)))).astype(x.dtype)


class MultiResolutionFusion(nn.Module):
    """[B, h_i, w_i, C_i] of several paths -> [B, H, W, C]: the largest size, the fewest channels.

    Corners lie on corners. The parameters of path i are below `path_i`.

    Attributes:
      dtype: as for `ResidualConvUnit`.
    """

    dtype: str | None = None

    @nn.compact
    def __call__(self, paths: Sequence[jax.Array]) -> jax.Array:
        channels = min(path.shape[-1] for path in paths)
        size = max(path.shape[1:3] for path in paths)
        fused = 0
        for i, path in enumerate(paths):
            convolution = Convolution(channels, use_bias=False, dtype=self.dtype, name=f"path_{i}")
            fused += align_corners_upsample(convolution(path), size)
        return fused


class ChainedResidualPooling(nn.Module):
    """[B, H, W, C] -> [B, H, W, C]: what is large near a cell, from further away with each pooling.

    relu(x) at first; the convolution after pooling i is `conv_i`.

    Attributes:
      poolings: how many.
      dtype: as for `ResidualConvUnit`.
    """

    poolings: int
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        total = x = nn.relu(x)
        for i in range(self.poolings):
            convolution = Convolution(
                x.shape[-1],
                use_bias=False,
                kernel_init=nn.initializers.zeros,
                dtype=self.dtype,
                name=f"conv_{i}",
            )
            x = convolution(max_pool_centered(x, _WINDOW))
            total += x
        return total
