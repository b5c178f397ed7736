"""The flags of which parts of an image a network sees at a time: evaluate's and predict's."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from reseg_jax.inference import proposals, sliding, ten_crop

_TILE = flags.DEFINE_integer(
    "tile", None, "compute larger images in overlapping squares of this side, averaged", 8
)
_OVERLAP = flags.DEFINE_integer(
    "overlap", None, "pixels that neighboring tiles share, a multiple of 4 [a quarter of --tile]", 0
)
_TEN_CROP = flags.DEFINE_bool(
    "ten_crop", False, "average over the corners, the center and their mirror images"
)
_PROPOSALS = flags.DEFINE_string(
    "proposals", None, "JSON file of boxes by image, predicted one by one; the maximum counts"
)
_PROPOSAL_SIZE = flags.DEFINE_integer(
    "proposal_size", None, "side of the square that boxes are resized to [as they are]", 1
)
flags.mark_flags_as_mutual_exclusive(["tile", "proposals"])
flags.mark_bool_flags_as_mutual_exclusive(["ten_crop", "flip"])


@flags.multi_flags_validator(["tile", "overlap"], "--overlap is of tiles: give --tile, too")
def _has_tiles(values):
    return values["tile"] is not None or values["overlap"] is None


@flags.multi_flags_validator(
    ["proposals", "proposal_size"], "--proposal_size is of boxes: give --proposals, too"
)
def _has_proposals(values):
    return values["proposals"] is not None or values["proposal_size"] is None


class Parts(NamedTuple):
    """Which parts of an image a network sees at a time. Without arguments: the whole image.

    Attributes:
      tile, overlap: as for `reseg_jax.inference.sliding.strips`, or None.
      ten_crop: whether ten crops are averaged, of each tile or box if there are such.
      boxes: in each image, or None.
      proposal_size: the `side` of `reseg_jax.inference.proposals.probabilities`.
    """

    tile: int | None = None
    overlap: int | None = None
    ten_crop: bool = False
    boxes: proposals.Proposals | None = None
    proposal_size: int | None = None

    def strips(
        self,
        predict: Callable[..., Iterator[np.ndarray]],
        images: np.ndarray,
        padded_size: tuple[int, int] | None,
        name: str = "",
    ) -> Iterator[np.ndarray]:
        """What a network makes of images, strip by strip from the top.

        Args:
          predict: `(images [B, h, w, 3], padded_size=None) -> strips [..., rows, w, K]`.
          images: [B, H, W, 3].
          padded_size: the (H, W) to compute on if the whole image is seen.
          name: of the image whose boxes are seen.

        Yields:
          float32 [..., rows, W, K].
        """
        size = images.shape[1:3]

        def seen(part):
            whole = part.shape[1:3] == size
            found = predict(part, padded_size=padded_size if whole else None)
            return np.concatenate(list(found), axis=-3)

        def cropped(part):
            return ten_crop.probabilities(seen, part) if self.ten_crop else seen(part)

        if self.boxes:
            boxes = self.boxes.of(name, size)
            yield proposals.probabilities(cropped, images, boxes, self.proposal_size)
        elif self.tile and max(size) > self.tile:
            yield from sliding.strips(cropped, images, self.tile, self.overlap)
        elif self.ten_crop:
            yield cropped(images)
        else:
            yield from predict(images, padded_size=padded_size)

    def describe(self) -> str:
        """What the parts are, for a line of text; empty for the whole image."""
        parts = ["ten crops averaged"] if self.ten_crop else []
        if self.tile:
            parts.append(f"in tiles of {self.tile} pixels that share {self.overlap}")
        if self.boxes:
            side = f", each as {self.proposal_size}x{self.proposal_size} pixels"
            parts.append(f"in the boxes of {self.boxes.path}{side if self.proposal_size else ''}")
        return "".join(f", {part}" for part in parts)

    def described(self) -> dict:
        """The same, for the JSON."""
        return self._asdict() | {"boxes": self.boxes and Path(self.boxes.path).name}


WHOLE = Parts()
"""The whole image at once."""


def load() -> Parts:
    """What the flags name."""
    overlap = sliding.check(_TILE.value, _OVERLAP.value) if _TILE.value else None
    boxes = proposals.read(_PROPOSALS.value) if _PROPOSALS.value else None
    return Parts(_TILE.value, overlap, _TEN_CROP.value, boxes, _PROPOSAL_SIZE.value)
