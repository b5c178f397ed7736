"""U-Net: a contracting path, and an expanding one that reads what was computed on the way down.

Paper: Ronneberger, Fischer and Brox, "U-Net: Convolutional networks for biomedical image
segmentation", MICCAI 2015, section 2 and figure 1.

    down, L levels:  two 3x3 convolutions with ReLU, then a 2x2 max pooling
    bottom:          two 3x3 convolutions with ReLU, dropout
    up, L levels:    2x2 transposed convolution, the skip concatenated, two 3x3 convolutions
    classifier:      1x1

The paper's convolutions are not padded, so the logits are of the image without a margin. On each
side level l takes 2 pixels of 2^l on the way down and 2 on the way up, the bottom 2 of 2^L:

    margin = 4 (2^0 + ... + 2^(L - 1)) + 2 2^L = 6 2^L - 4            92 for the paper's 4 levels

Poolings see even sizes if the bottom has a whole number m of cells. A pooling of level l halves a
size after 4 rows or columns were taken off it, so the input has

    n = 2^L m + 4 (2^0 + ... + 2^(L - 1)) = 2^L (m + 4) - 4           12 modulo 16 for 4 levels

Dimension key: `B H W` image axes, `C` channels, `K` outputs, `n` pixels along an axis.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax.errors import UserError, check_choice
from reseg_jax.layers.conv import Convolution
from reseg_jax.layers.initializers import he_normal
from reseg_jax.layers.norm import BatchNorm
from reseg_jax.layers.pooling import max_pool
from reseg_jax.layers.upsample import UpConvolution
from reseg_jax.networks.base import PIXELS, NetworkConfig

PADDINGS = ("valid", "same")


@dataclasses.dataclass(frozen=True, kw_only=True)
class UNetConfig(NetworkConfig):
    """U-Net (Ronneberger et al. 2015), figure 1. Without arguments: the paper's, for RGB images.

    Attributes:
      padding: "valid", as in the paper: the image is mirrored around itself (section 3), and each
        logit sees only what is there; or "same", zeros around every map, which computes less.
      channels: of each level from the top, the bottom's last; they set the number of levels.
      batch_norm: batch normalization between each 3x3 convolution and its ReLU; not in the paper.
      dropout: share that is dropped after the bottom's convolutions. Section 3.1 asks for dropout
        "at the end of the contracting path" and does not say how much; 0.5 is the released code's.
    """

    padding: str = "valid"
    channels: tuple[int, ...] = (64, 128, 256, 512, 1024)
    batch_norm: bool = False
    dropout: float = 0.5

    def __post_init__(self):
        if self.backbone is not None:
            raise UserError("backbone: U-Net reads the pixels, so leave backbone out")
        super().__post_init__()
        check_choice("padding", self.padding, PADDINGS)
        if len(self.channels) < 2 or min(self.channels) < 1:
            raise UserError(
                f"channels={self.channels}: give at least 2 numbers, from the top level to the "
                "bottom, all of them at least 1"
            )
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout={self.dropout}: give a share from 0 to below 1")

    @property
    def levels(self) -> int:
        """L, the number of poolings."""
        return len(self.channels) - 1

    @property
    def stride(self) -> int:
        """Image pixels per cell of the bottom."""
        return 2**self.levels

    @property
    def margin(self) -> int:
        """Pixels that unpadded convolutions take off on each side, see the top of this file."""
        return 6 * self.stride - 4 if self.padding == "valid" else 0

    def padded_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The smallest size that holds `size` and its margins, and whose poolings see even sizes.

        Args:
          size: (height, width) of an image in pixels.

        Returns:
          (height, width); for (360, 480) the paper's network has (556, 668), whose logits of
          372 x 484 are cropped.
        """
        extra = self._taken
        return tuple(
            -(-(side + 2 * self.margin + extra) // self.stride) * self.stride - extra
            for side in size
        )

    @property
    def uses_dropout(self) -> bool:
        return self.dropout > 0

    @property
    def _taken(self):
        """n + this is a multiple of the stride, see the top of this file."""
        return 4 if self.padding == "valid" else 0


def center_crop(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The middle of a map, for a skip that is larger than what it joins.

    Of H rows and h wanted ones, (H - h) / 2 are left out on either side: rows (H - h) / 2 to
    (H - h) / 2 + h - 1 stay. In U-Net H - h is even, as all that was taken off is. For the topmost
    skip of the paper: 568 rows, 392 wanted, so rows 88 to 479.

    Args:
      x: [B, H, W, C].
      size: (h, w), each at most its H or W, by an even number.

    Returns:
      [B, h, w, C].
    """
    rows, columns = (
        slice((have - wanted) // 2, (have - wanted) // 2 + wanted)
        for have, wanted in zip(x.shape[1:3], size, strict=True)
    )
    return x[:, rows, columns]


class TwoConvolutions(nn.Module):
    """Twice a 3x3 convolution, batch normalization if wanted, and ReLU.

    Attributes:
      channels: of both.
      padding: one of `PADDINGS`.
      batch_norm: see `UNetConfig`.
      dtype: see `NetworkConfig`.
    """

    channels: int
    padding: str
    batch_norm: bool
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, weight: jax.Array | None = None) -> jax.Array:
        """[B, H, W, C] -> [B, H, W, channels]; [B, H - 4, W - 4, channels] if not padded."""
        for i in range(2):
            x = Convolution(
                self.channels,
                padding=self.padding.upper(),
                relu=not self.batch_norm,
                kernel_init=he_normal,
                dtype=self.dtype,
                name=f"conv_{i}",
            )(x)
            if self.batch_norm:
                norm = BatchNorm(output_dtype=self.dtype, name=f"norm_{i}")
                x = nn.relu(norm(x, train=train, weight=weight))
        return x


class UNet(nn.Module):
    """All of it; see the top of this file.

    Parameters of level l are below `down_l`, `upsample_l` and `up_l`, those of the bottom below
    `bottom`.
    """

    config: UNetConfig

    @nn.compact
    def __call__(
        self,
        maps: dict[str, jax.Array],
        *,
        train: bool = False,
        weight: jax.Array | None = None,
        valid_size: jax.Array | None = None,
    ) -> jax.Array:
        """Logits of preprocessed images, see `networks.base`.

        Args:
          maps: {"pixels": [B, H, W, 3]} with H and W of `UNetConfig.padded_size`.
          train: batch normalization by the statistics of the batch.
          weight: [B], 0 for images that must not reach these statistics.
          valid_size: not used; images must fill their array.

        Returns:
          [B, H - 2 margin, W - 2 margin, K]; the first pixel is the one at (margin, margin). There
          is dropout if there is a random key called "dropout".

        Raises:
          UserError: a pooling would see an odd size, or nothing would be left.
        """
        del valid_size
        config, x, skips = self.config, maps[PIXELS], []
        self._check(x.shape[1:3])

        def two(channels, name):
            shared = (config.padding, config.batch_norm, config.dtype)
            block = TwoConvolutions(channels, *shared, name=name)
            return lambda x: block(x, train=train, weight=weight)

        *above, bottom = config.channels
        for level, channels in enumerate(above):
            x = two(channels, f"down_{level}")(x)
            skips.append(x)
            x = max_pool(x)
        x = two(bottom, "bottom")(x)
        x = nn.Dropout(config.dropout, deterministic=not self.has_rng("dropout"))(x)
        for level, channels in reversed(list(enumerate(above))):
            x = UpConvolution(channels, config.dtype, name=f"upsample_{level}")(x)
            x = jnp.concatenate([center_crop(skips[level], x.shape[1:3]), x], axis=-1)
            x = two(channels, f"up_{level}")(x)
        classifier = nn.Dense(config.outputs, kernel_init=he_normal, name="classifier")
        return classifier(x.astype(jnp.float32))

    def _check(self, size):
        config = self.config
        left = tuple(max(1, side - 2 * config.margin) for side in size)
        if config.padded_size(left) != size:
            raise UserError(
                f"pixels of {size}: U-Net with padding={config.padding} and {config.levels} levels "
                f"cannot halve them, so pad them to {config.padded_size(left)}"
            )


Config, Network = UNetConfig, UNet
