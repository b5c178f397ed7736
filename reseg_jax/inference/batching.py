"""Images in a row that are of one size, as batches."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

_MOST_PIXELS = 1 << 21  # of a batch: our choice, 12 frames of CamVid
_MOST_IMAGES = 8  # in a batch: our choice

Image = TypeVar("Image")


def by_memory(size: tuple[int, int]) -> int:
    """How many images of a size (H, W) are a batch of a GPU, whose cores few pixels do not fill."""
    return max(1, min(_MOST_IMAGES, _MOST_PIXELS // (size[0] * size[1])))


def batches(
    images: Iterable[Image],
    size_of: Callable[[Image], tuple[int, int] | None],
    count: Callable[[tuple[int, int]], int],
) -> Iterator[list[Image]]:
    """Whole batches, and what does not fill one image by image: two programs compile for a size.

    Args:
      images: in their order, which stays.
      size_of: image -> (H, W); None if it goes by itself.
      count: (H, W) -> images in a batch.

    Yields:
      Lists of images of one size.
    """
    row, size = [], None
    for image in images:
        if row and size_of(image) != size:
            yield from ([each] for each in row)
            row = []
        row.append(image)
        size = size_of(image)
        if size is None or len(row) == count(size):
            yield row
            row = []
    yield from ([each] for each in row)
