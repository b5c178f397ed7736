"""Ten crops of an image, averaged: its four corners, its center, and the mirror images of the five.

The crops and their share of the image are those of Krizhevsky et al., "ImageNet classification with
deep convolutional neural networks", NIPS 2012, section 4.1: 224 of 256 pixels. A class has one
score per crop there. Here a pixel has one for each crop that shows it, and their mean is taken:
two at the image's border, ten in its middle.

Dimension key: `B H W` image axes, `h w` of a crop, `K` outputs.
"""

from collections.abc import Callable, Iterator

import numpy as np

SHARE = 224 / 256
"""Of the image's height and width; above a half, so that the corners show every pixel."""


def probabilities(predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    """The mean over ten crops of what `predict` makes of each.

    All crops are of one size, so a network compiles once for a size of images.

    Args:
      predict: [B, h, w, 3] -> [..., h, w, K], for example `ensemble.probabilities` of a network.
      images: uint8 [B, H, W, 3].

    Returns:
      float32 [..., H, W, K].
    """
    total, count = 0.0, np.zeros((*images.shape[1:3], 1), np.float32)
    for rows, columns in five_crops(images.shape[1:3]):
        crop = images[:, rows, columns]
        mean = (predict(crop) + predict(crop[:, :, ::-1])[..., ::-1, :]) / 2
        if np.ndim(total) == 0:
            shape = (*mean.shape[:-3], *images.shape[1:3], mean.shape[-1])
            total = np.zeros(shape, np.float32)
        total[..., rows, columns, :] += mean
        count[rows, columns] += 1
    return total / count


def five_crops(size: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """(rows, columns) of the four corners and the center of an image of `size` (H, W)."""
    height, width = (round(SHARE * length) for length in size)
    bottom, right = size[0] - height, size[1] - width
    corners = [(top, left) for top in (0, bottom) for left in (0, right)]
    for top, left in (*corners, (bottom // 2, right // 2)):
        yield slice(top, top + height), slice(left, left + width)
