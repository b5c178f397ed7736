"""Where the cells of FCN's maps lie: padded maps, and the released networks' border and crops.

Paper: Long, Shelhamer and Darrell, "Fully convolutional networks for semantic segmentation",
CVPR 2015, section 4.

"same": all convolutions are padded, so cell i of a map of stride s covers pixels s i to
s i + s - 1, and nothing is cropped but what poolings rounded up.

"published": the released networks put 100 pixels around the image, do not pad fc6, and paint all
that transposed convolutions paint; crops bring the maps together. Their offsets follow from where
centers are:

    cell i of pool4                      16 i - 91.5       the border begins 99 pixels before
    cell i of pool3                       8 i - 95.5
    cell i of fc7                        32 i + 12.5       fc6 takes off 3 cells of pool5
    cell i of an upsampling by f         the center of cell (i - f + 1/2) / f below

so that the upsampled fc7, 16 i - 11.5, meets pool4 at cell i + 5; upsampled again, 8 i - 23.5, it
meets pool3 at cell i + 9; and pixel 0 is number 19, 27 or 31 of the last upsampling by 32, 16, 8.

Dimension key: `B` images, `h w` cells, `H W` pixels, `K` outputs.
"""

import jax

from reseg_jax.errors import UserError
from reseg_jax.layers.upsample import bilinear_upsample

BACKBONES = {
    "same": {"border": 0, "fc_padding": "SAME"},
    # conv1_1 adds one pixel more: 100 in the released networks.
    "published": {"border": 99, "fc_padding": "VALID"},
}
"""Geometry -> fields of its backbone, see `reseg_jax.backbones.vgg.VGG16`."""

# Offsets of the published geometry, see the top of this file.
_SKIP_CROPS = {"pool4": 5, "pool3": 9}
_LAST_CROPS = {32: 19, 16: 27, 8: 31}


def check_backbone(geometry: str, border: int, fc_padding: str) -> None:
    """Checks that a backbone's maps lie as a geometry has them.

    Args:
      geometry: a name in `BACKBONES`.
      border: the backbone's.
      fc_padding: the backbone's.

    Raises:
      UserError: they do not.
    """
    wanted = BACKBONES[geometry]
    if {"border": border, "fc_padding": fc_padding} != wanted:
        raise UserError(
            f"geometry={geometry} does not fit a backbone with border={border} and "
            f"fc_padding={fc_padding}: give the backbone border={wanted['border']} and "
            f"fc_padding={wanted['fc_padding']}"
        )


def add_score(x: jax.Array, score: jax.Array, tap: str, geometry: str) -> jax.Array:
    """Upsampled scores and those of a finer map, added where they lie over the same pixels.

    Args:
      x: [B, h, w, K], upsampled: all that is painted if the geometry is published.
      score: [B, h', w', K], of the map.
      tap: the map.
      geometry: a name in `BACKBONES`.

    Returns:
      The cells that both have.
    """
    if geometry == "published":  # the map is larger: it has cells before and after x's
        first, (height, width) = _SKIP_CROPS[tap], x.shape[1:3]
        return x + score[:, first : first + height, first : first + width]
    # x is larger, by one cell, if a pooling rounded up.
    return x[:, : score.shape[1], : score.shape[2]] + score


def to_image(x: jax.Array, stride: int, geometry: str) -> jax.Array:
    """The last upsampling, if the geometry has its own: bilinear, and cropped.

    Args:
      x: [B, h, w, K], scores.
      stride: image pixels per cell of them: 32, 16 or 8.
      geometry: a name in `BACKBONES`.

    Returns:
      [B, H, W, K], which begins at the image's first pixel and covers the image, of the published
      geometry; x itself, at its stride, of the other one.
    """
    if geometry == "same":
        return x
    first = _LAST_CROPS[stride]
    return bilinear_upsample(x, stride, full=True)[:, first:, first:]
