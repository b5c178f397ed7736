"""An image of any size in bounded memory: tile by tile, averaged where tiles overlap.

The overlap-tile strategy of Ronneberger, Fischer and Brox, "U-Net: Convolutional networks for
biomedical image segmentation", MICCAI 2015, figure 2: each tile is computed with context around
what is kept of its answer, and the context beyond the image's border is the mirrored image. There
every pixel belongs to one tile. Here neighbors are averaged, since a network that sees its whole
tile, as ReSeg does, would leave seams.

Neighbors share `o` pixels, the overlap. Along an axis, the pixel d = 0, 1, ... from an edge counts

    w(d) = clip((d + 1/2 - o/4) / (o/2), 0, 1)

nothing in the outer quarter of the overlap, where a tile lacks context, and then linearly more over
half of it (the shape is our choice). The weights of neighbors add up to 1; a pixel has the product
of its row's and its column's. An image that is larger than a tile is mirrored by o/4 pixels on each
side, so that its own border has context as well. It follows:

- An image that fits into a tile is predicted as it is.
- A network whose logits depend on no pixel more than o/4 away gives what it gives of the whole
  image, except within o/4 of the border, where it may see its own padding in place of the mirrored
  image. U-Net's valid form mirrors the image too, and there is no exception.

Tiles begin at multiples of (tile - o), o/4 to the upper left. Where both are multiples of a
network's stride, its cells lie as in the whole image.

Dimension key: `B H W` image axes, `h w` of a tile, `K` outputs, `N` tiles along an axis.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from reseg_jax.errors import UserError


def strips(
    predict: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    tile: int,
    overlap: int | None = None,
) -> Iterator[np.ndarray]:
    """What `predict` makes of large images, strip by strip from the top.

    One row of tiles is held at a time. All tiles are of one shape, so a network compiles once; a
    pixel is computed (tile / (tile - overlap))^2 times.

    Args:
      predict: [B, h, w, 3] -> [..., h, w, K], for example `ensemble.probabilities` of a network.
      images: uint8 [B, H, W, 3].
      tile: h and w; along an axis on which the image is smaller, its own length.
      overlap: pixels that neighbors share, a multiple of 4, at most half a tile [about a quarter].

    Yields:
      float32 [..., rows, W, K], rows from the top, `tile - overlap` of them or fewer.

    Raises:
      UserError: there are no such tiles.
    """
    overlap = check(tile, overlap)
    rows, columns = (_axis(length, tile, overlap) for length in images.shape[1:3])
    height, width = images.shape[1:3]
    shared = None  # with the row of tiles above
    for top, pixels, weights in zip(*rows, strict=True):
        band = 0.0
        for index, left in enumerate(columns.starts):
            seen = images[:, pixels[:, None], columns.pixels[index]]
            scores = predict(seen) * (weights[:, None] * columns.weights[index])[..., None]
            if index == 0:
                band = np.zeros((*scores.shape[:-2], width, scores.shape[-1]), np.float32)
            begin, end = max(0, -left), min(len(columns.pixels[index]), width - left)
            band[..., left + begin : left + end, :] += scores[..., begin:end, :]
        if shared is not None:
            band[..., :overlap, :, :] += shared
        is_last = top == rows.starts[-1]
        begin, end = max(0, -top), (height - top) if is_last else len(pixels) - overlap
        shared = band[..., end:, :, :].copy()
        yield band[..., begin:end, :, :]


def check(tile: int, overlap: int | None = None) -> int:
    """The overlap of tiles; a UserError if there are no such tiles."""
    if tile < 8:
        raise UserError(f"tile={tile}: give the side of a square in pixels, for example 512")
    overlap = tile // 16 * 4 if overlap is None else overlap
    if overlap % 4 or not 0 <= overlap <= tile / 2:
        raise UserError(
            f"overlap={overlap}: give a multiple of 4 from 0 to half a tile, {tile // 8 * 4}"
        )
    return overlap


class _Axis(NamedTuple):
    """Tiles along an axis.

    Attributes:
      starts: int [N], of the image's pixels; the first may be negative.
      pixels: int [N, h], which pixel of the image each shows.
      weights: float32 [N, h].
    """

    starts: np.ndarray
    pixels: np.ndarray
    weights: np.ndarray


def _axis(length, tile, overlap):
    if length <= tile:
        return _Axis(np.zeros(1, int), np.arange(length)[None], np.ones((1, length), np.float32))
    context, step = overlap // 4, tile - overlap
    count = -(-(length + 2 * context - overlap) // step)  # the last ends at length + context or on
    starts = np.arange(count) * step - context
    pixels = starts[:, None] + np.arange(tile)
    pixels = np.where(pixels < 0, -1 - pixels, pixels)
    pixels = np.where(pixels >= length, 2 * length - 1 - pixels, pixels)
    rising = np.clip((np.arange(tile) + 0.5 - context) / max(0.5, overlap / 2), 0, 1)
    weights = np.tile(np.minimum(rising, rising[::-1]), (count, 1))
    half = tile // 2
    weights[0, :half] = weights[-1, half:] = 1  # no neighbor there
    return _Axis(starts, pixels, weights.astype(np.float32))
