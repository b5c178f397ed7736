"""Where CamVid's files are, and which label belongs to which image."""

import os
from pathlib import Path
from typing import NamedTuple

from data.example import SPLITS
from reseg_jax.errors import UserError
from reseg_jax.images import SUFFIXES

LAYOUT = "{train,val,test}/ with images and {train,val,test}annot/ with PNG labels of equal names"


class Pair(NamedTuple):
    """An image file and its label file."""

    name: str  # what both are called, without suffix
    image: Path
    label: Path


def find(data_dir: str | os.PathLike | None = None) -> Path:
    """The folder with `train/`, `trainannot/` and so on.

    That is `CamVid/` or `camvid/` in `data_dir` or in the folder that the environment variable
    RESEG_DATA names, or that folder itself; with neither, a downloaded copy. A UserError where
    a folder is named and CamVid is not in it.
    """
    given = data_dir or os.environ.get("RESEG_DATA")
    if not given:
        from data.camvid.download import fetch  # only then is anything downloaded

        return fetch()
    source = "--data_dir" if data_dir else "RESEG_DATA"
    folder = Path(given).expanduser()
    if not folder.is_dir():
        raise UserError(f"{source}={given} is no folder: give the folder that holds CamVid/")
    candidates = [folder / "CamVid", folder / "camvid", folder]
    for candidate in candidates:
        if any((candidate / split).is_dir() for split in SPLITS):
            return candidate
    looked = ", ".join(map(str, candidates))
    raise UserError(f"{source}={given} holds no CamVid: looked in {looked} for {LAYOUT}")


def splits(folder: Path) -> list[str]:
    """The splits that are there."""
    return [split for split in SPLITS if (folder / split).is_dir()]


def pairs(folder: Path, split: str) -> list[Pair]:
    """The files of a split, sorted by name; a UserError unless each image has one label."""
    if not (folder / split).is_dir():
        raise UserError(
            f"{folder} has no {split} split: it holds {', '.join(splits(folder)) or 'none'}, and "
            f"{split}/ and {split}annot/ are needed"
        )
    images = _by_stem(folder / split, SUFFIXES)
    labels = _by_stem(folder / f"{split}annot", (".png",))
    if lone := sorted(images.keys() - labels.keys()):
        raise UserError(
            f"{images[lone[0]]} has no label: expected {folder / f'{split}annot' / lone[0]}.png"
            + _more(lone)
        )
    if lone := sorted(labels.keys() - images.keys()):
        raise UserError(
            f"{labels[lone[0]]} has no image: expected one called {lone[0]} in {folder / split}"
            + _more(lone)
        )
    return [Pair(name, images[name], labels[name]) for name in sorted(images)]


def _by_stem(folder, suffixes):
    if not folder.is_dir():
        raise UserError(f"{folder} is not there: the layout is {LAYOUT}")
    found = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        if path.stem in found:
            raise UserError(f"{found[path.stem]} and {path} have the same name: remove one")
        found[path.stem] = path
    if not found:
        raise UserError(f"{folder} holds no {' or '.join(suffixes)} file: fill or remove it")
    return found


def _more(lone):
    return f" ({len(lone) - 1} more like it)" if len(lone) > 1 else ""
