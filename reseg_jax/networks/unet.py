"""U-Net: a contracting path, and an expanding one that reads what was computed on the way down.

Paper: Ronneberger, Fischer and Brox, "U-Net: Convolutional networks for biomedical image
segmentation", MICCAI 2015, section 2 and figure 1.

    down, L levels:  two 3x3 convolutions with ReLU, then a 2x2 max pooling
    bottom:          two 3x3 convolutions with ReLU, dropout
    up, L levels:    2x2 transposed convolution, the skip concatenated, two 3x3 convolutions
    classifier:      1x1

The paper's convolutions are not padded, so the logits are of the image without a margin, and skips
are cropped to what they join: `reseg_jax.layers.unpadded` has the sizes.

Dimension key: `B H W` image axes, `C` channels, `K` outputs.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax.errors import UserError, check_choice, check_share
from reseg_jax.layers import unpadded
from reseg_jax.layers.initializers import he_normal
from reseg_jax.layers.pooling import max_pool
from reseg_jax.layers.two_convolutions import TwoConvolutions
from reseg_jax.layers.upsample import UpConvolution
from reseg_jax.networks.base import PIXELS, NetworkConfig, check_levels, check_no_backbone

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
        check_no_backbone("U-Net", self.backbone)
        super().__post_init__()
        check_choice("padding", self.padding, PADDINGS)
        check_levels(self.channels, "bottom")
        check_share("dropout", self.dropout)

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
        """Pixels that unpadded convolutions take off on each side."""
        return unpadded.margin_of(self.levels) if self.padding == "valid" else 0

    def padded_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The smallest size that holds `size` and its margins, and whose poolings see even sizes.

        (556, 668) for the paper's network and (360, 480).
        """
        if self.padding == "valid":
            return unpadded.padded_size(size, self.levels)
        return super().padded_size(size)

    @property
    def uses_dropout(self) -> bool:
        return self.dropout > 0


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
        fields = (config.padding, config.batch_norm, config.dtype)
        context = {"train": train, "weight": weight}
        *above, bottom = config.channels
        for level, channels in enumerate(above):
            x = TwoConvolutions(channels, *fields, name=f"down_{level}")(x, **context)
            skips.append(x)
            x = max_pool(x)
        x = TwoConvolutions(bottom, *fields, name="bottom")(x, **context)
        x = nn.Dropout(config.dropout, deterministic=not self.has_rng("dropout"))(x)
        for level, channels in reversed(list(enumerate(above))):
            x = UpConvolution(channels, config.dtype, name=f"upsample_{level}")(x)
            x = jnp.concatenate([unpadded.center_crop(skips[level], x.shape[1:3]), x], axis=-1)
            x = TwoConvolutions(channels, *fields, name=f"up_{level}")(x, **context)
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
