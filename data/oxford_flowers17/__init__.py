"""Oxford Flowers 17: flowers against background, sizes of all kinds (the paper's Table 2)."""

import functools
import os
from pathlib import Path

import numpy as np

from data.example import Example
from data.oxford_flowers17 import download, matlab
from data.reading.layout import Pair, by_stem, search
from data.reading.skip_broken import check_not_black, read_skipping_broken, resize
from reseg_jax.errors import UserError
from reseg_jax.files.images import SUFFIXES, read_image
from reseg_jax.labels import VOID, Classes

CLASSES = Classes(
    names=("background", "flower"),
    palette=((0, 0, 0), (128, 0, 0)),  # the trimaps' own
)

FLOWER = ((128, 0, 0), (38, 38, 38), (1, 1, 1))
"""A pixel of a flower: its color, or the gray level or the palette index in copies without one.

The gray level is the 38 that the paper calls the id of the class (Rec. 601 luma of 128, 0, 0).
"""
UNLABELED = (0, 0, 0)
"""A pixel that the trimap leaves open."""

BAD = ("image_1269", "image_1270")  # trimaps that the ReSeg authors' loader leaves out

LAYOUT = "jpg/ with images, trimaps/ with label PNGs of equal names, and datasplits.mat"
KEYS = {"train": "trn", "val": "val", "test": "tst"}  # of datasplits.mat, followed by the fold
FOLDS = ("1", "2", "3")
UNLABELED_AS = ("background", "void")


def load(
    split: str,
    data_dir: str | os.PathLike | None = None,
    unlabeled: str = "background",
    fold: str = "1",
) -> list[Example]:
    """A split, decoded and in memory, sorted by name.

    An image has the size of its trimap; images without one are passed over. Files that cannot be
    used are reported on stderr and left out.

    Args:
      split: "train", "val" or "test".
      data_dir: where the files are, see README.md.
      unlabeled: what pixels are that the trimaps leave open, a seventh of all: "background" as in
        the paper, or "void".
      fold: "1", "2" or "3" of the three official splits.

    Raises:
      UserError: an option is unknown, the dataset is not there, or no image can be used.
    """
    for name, value, known in (("unlabeled", unlabeled, UNLABELED_AS), ("fold", fold, FOLDS)):
        if value not in known:
            raise UserError(f"{name}={value} is unknown; known are: {', '.join(known)}")
    folder = _find(data_dir)
    images = by_stem(folder / "jpg", SUFFIXES, LAYOUT)
    trimaps = by_stem(folder / "trimaps", SUFFIXES, LAYOUT)
    listed = _read_split(folder / "datasplits.mat", KEYS[split] + fold)
    bad = [name for name in listed if name in BAD and name in trimaps]
    pairs = [
        Pair(name, images[name], trimaps[name])
        for name in listed
        if name in images and name in trimaps and name not in BAD
    ]
    counted = f"with a trimap of the {len(listed)} that are listed"
    if bad:
        counted += f"; left out for a bad trimap: {', '.join(bad)}"
    read = functools.partial(_read, open_as=VOID if unlabeled == "void" else 0)
    return read_skipping_broken(f"oxford_flowers17 {split}", pairs, read, counted)


def _find(data_dir):
    names = ("oxford_flowers17", "flowers17", "17flowers")
    folder = search(
        data_dir, names, lambda path: (path / "trimaps").is_dir(), "Oxford Flowers 17", LAYOUT
    )
    return folder or download.fetch()


def _read_split(path: Path, key: str) -> list[str]:
    """The names of a split, sorted."""
    try:
        numbers = [int(number) for number in matlab.read(path, key).ravel()]
    except UserError:
        raise
    except (ValueError, OverflowError, KeyError) as error:
        raise UserError(
            f"{path} is no list of splits, its {key} cannot be read: download it again from "
            f"{download.URL}"
        ) from error
    return sorted(f"image_{number:04}" for number in numbers)


def _read(pair, open_as):
    image, colors = read_image(pair.image), read_image(pair.label)
    check_not_black(image, pair.image)
    label = np.zeros(colors.shape[:2], np.uint8)
    label[(colors == UNLABELED).all(axis=-1)] = open_as
    for flower in FLOWER:
        label[(colors == flower).all(axis=-1)] = 1
    if not (label == 1).any():
        raise UserError(f"{pair.label} shows no flower, color (128, 0, 0)")
    return resize(image, label.shape), label
