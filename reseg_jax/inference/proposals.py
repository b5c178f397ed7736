"""Proposal-wise inference: boxes that may hold an object are predicted one by one and put together.

Noh, Hong and Han, "Learning deconvolution network for semantic segmentation", ICCV 2015, section
4.2: the network sees the part of the image in each box, at its own scale; its answers are put back
in their places, and of those that see a pixel the maximum counts, class by class:

    p(class c) = softmax_c(max_i log p_i(c)) = max_i p_i(c) / sum_k max_i p_i(k)

The paper takes the maximum of the scores before their softmax. Here p_i is a probability, averaged
over views and networks as ever; a box of the whole image gives the plain prediction in both. A
pixel in no box has all classes alike, as zeros for its scores give in the paper.

A file of boxes is JSON: {"NAME": [[left, top, right, bottom], ...], ...} by the images' names, in
pixels, right and bottom excluded: [0, 0, W, H] is the whole image.

Dimension key: `B H W` image axes, `h w` of a box, `K` outputs.
"""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from reseg_jax.errors import UserError
from reseg_jax.files.json_files import read_json
from reseg_jax.inference.views import seen_as

Box = tuple[int, int, int, int]
"""(left, top, right, bottom)."""


def probabilities(
    predict: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    boxes: Sequence[Box],
    side: int | None = None,
) -> np.ndarray:
    """What `predict` makes of each box, the maximum at each pixel, and all divided by their sum.

    Args:
      predict: [B, h, w, 3] -> [..., h, w, K], for example `ensemble.probabilities` of a network.
      images: uint8 [B, H, W, 3].
      boxes: in the images, one or more.
      side: height and width at which boxes are shown to the network (224 in the paper), so that it
        compiles once; None: each at its own size.

    Returns:
      float32 [..., H, W, K].
    """
    most = None
    for left, top, right, bottom in boxes:
        found = _predict_at(side, predict, images[:, top:bottom, left:right])
        if most is None:
            shape = (*found.shape[:-3], *images.shape[1:3], found.shape[-1])
            most = np.zeros(shape, np.float32)
        there = most[..., top:bottom, left:right, :]
        np.maximum(there, found, out=there)
    total = most.sum(axis=-1, keepdims=True)
    return np.where(total > 0, most / np.where(total > 0, total, 1), np.float32(1 / most.shape[-1]))


def _predict_at(side, predict, images):
    if side is None:
        return predict(images)
    # In whole levels, as photos are: a dark box is no image of floats from 0 to 1.
    found = predict(np.rint(seen_as(images, (side, side))).astype(images.dtype))
    flat = found.reshape(-1, *found.shape[-3:])
    return seen_as(flat, images.shape[1:3]).reshape(*found.shape[:-3], *images.shape[1:3], -1)


class Proposals(NamedTuple):
    """The boxes of many images.

    Attributes:
      path: of their file.
      boxes: {name of an image: its boxes}.
    """

    path: str
    boxes: dict[str, list[Box]]

    def of(self, name: str, size: tuple[int, int]) -> list[Box]:
        """The boxes of an image of `size` (H, W); a UserError if one is not in it."""
        if name not in self.boxes:
            raise UserError(f"{self.path} has no boxes of the image {name}: add them")
        for box in self.boxes[name]:
            if box[2] > size[1] or box[3] > size[0]:
                raise UserError(
                    f"{self.path}: the box {list(box)} of {name} is not in the image, which has "
                    f"{size[1]}x{size[0]} pixels: give left, top, right and bottom in pixels"
                )
        return self.boxes[name]


def read(path: str | os.PathLike) -> Proposals:
    """The boxes in a file.

    Raises:
      UserError: it is no such file, or a box has no pixels.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise UserError(f'{path} must hold {{"NAME": [[left, top, right, bottom], ...]}}')
    boxes = {name: _boxes(path, name, found) for name, found in content.items()}
    return Proposals(str(path), boxes)


def _boxes(path, name, found):
    if not isinstance(found, list) or not found:
        raise UserError(f"{path}: {name!r} has no list of boxes: give one or more")
    for box in found:
        is_box = isinstance(box, list) and [type(number) for number in box] == [int] * 4
        if not is_box or not (0 <= box[0] < box[2] and 0 <= box[1] < box[3]):
            raise UserError(
                f"{path}: {str(box)[:100]} of {name!r} is no box: give whole numbers [left, top, "
                "right, bottom] from 0, of which right and bottom are the larger"
            )
    return [tuple(box) for box in found]
