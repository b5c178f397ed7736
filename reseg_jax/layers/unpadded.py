"""Sizes in a U of unpadded convolutions: what they take off, what can be halved, what is cropped.

Paper: Ronneberger, Fischer and Brox, "U-Net: Convolutional networks for biomedical image
segmentation", MICCAI 2015, section 2 and figure 1. The U has L poolings of 2x2 cells and two 3x3
convolutions on each level: before each pooling, at the bottom, and after each upsampling.

On each side of an image level l takes 2 pixels of 2^l on the way down and 2 on the way up, the
bottom 2 of 2^L:

    margin = 4 (2^0 + ... + 2^(L - 1)) + 2 2^L = 6 2^L - 4            92 for the paper's 4 levels

Poolings see even sizes if the bottom has a whole number m of cells. A pooling of level l halves a
size after 4 rows or columns were taken off it, so the input has

    n = 2^L m + 4 (2^0 + ... + 2^(L - 1)) = 2^L (m + 4) - 4           12 modulo 16 for 4 levels

Dimension key: `B H W C` image axes, `h w` those of what is wanted, `n` pixels along an axis.
"""

import jax


def margin_of(levels: int) -> int:
    """Pixels that L levels take off on each side, see the top of this file."""
    return 6 * 2**levels - 4


def padded_size(size: tuple[int, int], levels: int) -> tuple[int, int]:
    """The smallest size that holds an image and its margins, and whose poolings see even sizes.

    Args:
      size: (height, width) of the image in pixels.
      levels: L.

    Returns:
      (height, width), both 4 less than a multiple of 2^L. For 4 levels and (360, 480) it is
      (556, 668): logits of 372 x 484, which are cropped.
    """
    stride, margin = 2**levels, margin_of(levels)
    return tuple(-(-(side + 2 * margin + 4) // stride) * stride - 4 for side in size)


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
