"""The flags of which parts of an image a network sees at a time: evaluate's and predict's."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from absl import flags

from reseg_jax.inference import sliding

_TILE = flags.DEFINE_integer(
    "tile", None, "compute larger images in overlapping squares of this side, averaged", 8
)
_OVERLAP = flags.DEFINE_integer(
    "overlap", None, "pixels that neighboring tiles share, a multiple of 4 [a quarter of --tile]", 0
)


@flags.multi_flags_validator(["tile", "overlap"], "--overlap is of tiles: give --tile, too")
def _has_tiles(values):
    return values["tile"] is not None or values["overlap"] is None


class Parts(NamedTuple):
    """Which parts of an image a network sees at a time. Without arguments: the whole image.

    Attributes:
      tile, overlap: as for `reseg_jax.inference.sliding.strips`, or None.
    """

    tile: int | None = None
    overlap: int | None = None

    def strips(
        self,
        predict: Callable[..., Iterator[np.ndarray]],
        images: np.ndarray,
        padded_size: tuple[int, int] | None,
    ) -> Iterator[np.ndarray]:
        """What a network makes of images, strip by strip from the top.

        Args:
          predict: `(images [B, h, w, 3], padded_size=None) -> strips [..., rows, w, K]`.
          images: [B, H, W, 3].
          padded_size: the (H, W) to compute on if the whole image is seen.

        Yields:
          float32 [..., rows, W, K].
        """
        if self.tile is None or max(images.shape[1:3]) <= self.tile:
            yield from predict(images, padded_size=padded_size)
            return

        def seen(part):
            return np.concatenate(list(predict(part)), axis=-3)

        yield from sliding.strips(seen, images, self.tile, self.overlap)

    def describe(self) -> str:
        """What the parts are, for a line of text; empty for the whole image."""
        return f", in tiles of {self.tile} pixels that share {self.overlap}" if self.tile else ""


WHOLE = Parts()
"""The whole image at once."""


def load() -> Parts:
    """What the flags name."""
    if _TILE.value is None:
        return Parts()
    return Parts(_TILE.value, sliding.check(_TILE.value, _OVERLAP.value))
