"""Weizmann horses: one horse per image, a mask each, sizes of all kinds (the paper's Table 1)."""

import os
from pathlib import Path

import numpy as np

from data.example import Example
from data.reading.layout import Pair, by_stem, search
from data.reading.skip_broken import check_not_black, read_skipping_broken, resize
from data.weizmann_horse import download
from reseg_jax.errors import UserError
from reseg_jax.files.images import SUFFIXES, read_image
from reseg_jax.labels import Classes

CLASSES = Classes(
    names=("background", "horse"),
    palette=((0, 0, 0), (192, 0, 128)),  # as in PASCAL VOC, which has both classes
)

LAYOUT = "rgb/ with images and figure_ground/ with masks of equal names"


def load(split: str, data_dir: str | os.PathLike | None = None) -> list[Example]:
    """A split, decoded and in memory, sorted by name.

    An image has the size of its mask. Files that cannot be used are reported on stderr and left
    out.

    Args:
      split: "train", "val" or "test".
      data_dir: where the files are, see README.md.

    Raises:
      UserError: the dataset is not there, or no image can be used.
    """
    folder = _find(data_dir)
    images = by_stem(folder / "rgb", SUFFIXES, LAYOUT)
    masks = by_stem(folder / "figure_ground", SUFFIXES, LAYOUT)
    listed = [name for name, own in read_splits().items() if own == split]
    pairs = [
        Pair(name, images[name], masks[name]) for name in listed if name in images and name in masks
    ]
    counted = f"of the {len(listed)} that are listed"
    if absent := len(listed) - len(pairs):
        counted += f"; {absent} are not in {folder}"
    if unlisted := sorted(images.keys() & masks.keys() - read_splits().keys()):
        counted += f"; in no split: {', '.join(unlisted)}"
    return read_skipping_broken(f"weizmann_horse {split}", pairs, _read, counted)


def read_splits() -> dict[str, str]:
    """{name: split} as splits.txt lists them, by name."""
    lines = Path(__file__).with_name("splits.txt").read_text().splitlines()
    return dict(line.split() for line in lines)


def _find(data_dir):
    names = ("weizmann_horse", "weizmann_horse_db")
    folder = search(
        data_dir, names, lambda path: (path / "figure_ground").is_dir(), "Weizmann horses", LAYOUT
    )
    return folder or download.fetch()


def _read(pair):
    image, mask = read_image(pair.image), read_image(pair.label)[..., 0]
    check_not_black(image, pair.image)
    # Masks are JPEGs with values 0 and 255, blurred by the compression.
    label = (mask >= 128).astype(np.uint8)
    if not label.any():
        raise UserError(f"{pair.label} is black: copy or download it again")
    return resize(image, label.shape), label
