"""Training images and their labels in another shape: scaled, turned, stretched, moved, deformed.

Image and label are changed together. Labels take the nearest pixel, so that none is invented;
what comes from beyond the image is 0 and `VOID`, as around an image in a batch.

Dimension key: `H W` image axes.
"""

import math

import numpy as np
from PIL import Image
from scipy import ndimage

from reseg_jax.labels import VOID

COARSE = 3  # nodes along an axis of `elastic_displacements` (Ronneberger et al. 2015, section 3.1)


def random_scale(
    generator: np.random.Generator, image: np.ndarray, label: np.ndarray, low: float, high: float
) -> tuple[np.ndarray, np.ndarray]:
    """An image larger or smaller by a random factor, in a frame of the old size.

    The logarithm of the factor is uniform, so that halving is as likely as doubling. The place is
    random: which crop of a larger image is taken, or where in the frame a smaller one stands,
    with 0 and VOID around it as in a batch. Labels take the nearest pixel: none is invented.

    Args:
      generator: of factor and place.
      image: uint8 [H, W, 3].
      label: uint8 [H, W].
      low, high: bounds of the factor, above 0.

    Returns:
      (image, label) of the same shapes.
    """
    height, width = label.shape
    factor = math.exp(generator.uniform(math.log(low), math.log(high)))
    rows, columns = max(1, round(factor * height)), max(1, round(factor * width))
    image = np.asarray(Image.fromarray(image).resize((columns, rows), Image.Resampling.BILINEAR))
    label = np.asarray(Image.fromarray(label).resize((columns, rows), Image.Resampling.NEAREST))
    # Where the smaller of the two, image and frame, begins in the larger.
    top = generator.integers(abs(rows - height) + 1)
    left = generator.integers(abs(columns - width) + 1)
    if factor > 1:
        crop = np.s_[top : top + height, left : left + width]
        return image[crop], label[crop]
    framed = np.zeros((height, width, 3), np.uint8), np.full((height, width), VOID, np.uint8)
    for frame, small in zip(framed, (image, label), strict=True):
        frame[top : top + rows, left : left + columns] = small
    return framed


def random_warp(
    generator: np.random.Generator,
    image: np.ndarray,
    label: np.ndarray,
    rotate: float = 0.0,
    aspect: float = 1.0,
    translate: int = 0,
    elastic: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """An image turned, stretched, moved and deformed at random, all in one interpolation.

    Args:
      generator: of all that is drawn.
      image: uint8 [H, W, 3].
      label: uint8 [H, W].
      rotate: the largest angle either way, in degrees.
      aspect: the largest factor of width / height, from 1; its logarithm is uniform.
      translate: the largest number of pixels, either way along each axis.
      elastic: standard deviation of `elastic_displacements`, in pixels.

    Returns:
      (image, label) of the same shapes.
    """
    angle = math.radians(generator.uniform(-rotate, rotate))
    stretch = aspect ** generator.uniform(-1 / 2, 1 / 2)
    move = generator.integers(-translate, translate, 2, endpoint=True)
    places = affine_places(label.shape, angle, stretch, move)
    if elastic:
        places += elastic_displacements(generator, label.shape, elastic)
    return taken_from(places, image, label)


def affine_places(
    size: tuple[int, int], angle: float, stretch: float, move: tuple[float, float]
) -> np.ndarray:
    """Where the pixels come from if an image is stretched, turned about its center, and moved.

    Args:
      size: (H, W).
      angle: counterclockwise, in radians.
      stretch: factor of the width, and 1 / factor of the height.
      move: pixels downwards and to the right.

    Returns:
      float64 [2, H, W], row and column.
    """
    center = (np.array(size).reshape(2, 1, 1) - 1) / 2
    down, right = np.indices(size) - np.reshape(move, (2, 1, 1)) - center
    cos, sin = math.cos(angle), math.sin(angle)
    turned_back = sin * right + cos * down, cos * right - sin * down
    return np.stack([turned_back[0] * stretch, turned_back[1] / stretch]) + center


def elastic_displacements(
    generator: np.random.Generator, size: tuple[int, int], deviation: float
) -> np.ndarray:
    """Smooth random displacements (Ronneberger et al. 2015, U-Net, section 3.1).

    Gaussian at the nodes of a coarse grid of 3 x 3 over the image, bicubic between them.

    Args:
      generator: of the displacements.
      size: (H, W).
      deviation: standard deviation at the nodes, in pixels; 10 in the paper.

    Returns:
      float64 [2, H, W], pixels along rows and columns.
    """
    nodes = generator.normal(0, deviation, (2, COARSE, COARSE))
    factors = [side / COARSE for side in size]
    # The first and last nodes of an axis are its first and last pixels.
    return np.stack([ndimage.zoom(each, factors, order=3, mode="mirror") for each in nodes])


def taken_from(
    places: np.ndarray, image: np.ndarray, label: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The image, linearly interpolated, and the label of the nearest pixel at each place.

    Args:
      places: float64 [2, H, W], row and column.
      image: uint8 [H', W', 3].
      label: uint8 [H', W'].

    Returns:
      (image uint8 [H, W, 3], label uint8 [H, W]): 0 and VOID outside the image.
    """
    channels = [
        ndimage.map_coordinates(image[..., channel], places, np.float32, order=1)
        for channel in range(image.shape[-1])
    ]
    nearest = ndimage.map_coordinates(label, places, order=0, cval=VOID)
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8), nearest
