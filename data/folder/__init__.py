"""Anybody's images and labels: two folders of files and a table of classes.

    data.load("folder", "train", "mydata")  # mydata/images, mydata/labels, mydata/classes.json
    data.load("folder", "train", images="photos", labels="masks", classes="classes.json")

README.md says which files go together, how labels may look and how images are divided.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from data.example import SPLITS, Example
from data.folder.table import read_label, read_table
from data.reading.layout import Pair, by_stem, check_sizes, match
from reseg_jax.config import Classes
from reseg_jax.errors import UserError
from reseg_jax.files.images import SUFFIXES, read_image

LAYOUT = "images/ and labels/ with files of equal names, and classes.json"
VAL_SHARE = 0.2  # of images that nobody has divided; ours
SEED = 2016  # of that division; the year of the paper


class Paths(NamedTuple):
    """Where things are."""

    images: Path
    labels: Path
    classes: Path


def classes(data_dir: str | os.PathLike | None = None, **options) -> Classes:
    """The classes that the table names; arguments as for `load`."""
    return read_table(_find(data_dir, **options).classes).classes


def load(
    split: str,
    data_dir: str | os.PathLike | None = None,
    images: str | os.PathLike | None = None,
    labels: str | os.PathLike | None = None,
    classes: str | os.PathLike | None = None,
) -> list[Example]:
    """A split, decoded and in memory, sorted by name.

    data_dir: the folder that holds images/, labels/ and classes.json; each of the other three
              takes the place of one of them. A UserError names the first file that does not fit.
    """
    paths = _find(data_dir, images, labels, classes)
    table, pairs = read_table(paths.classes), _pairs(paths, split)

    def read(pair):
        image, label = read_image(pair.image), read_label(pair.label, table)
        check_sizes(pair, image.shape, label.shape)
        return Example(pair.name, image, label)

    # Decoding releases the interpreter's lock: threads do in parallel what costs the time.
    with ThreadPoolExecutor() as pool:
        return list(pool.map(read, pairs))


def _find(data_dir=None, images=None, labels=None, classes=None):
    given = {"images": images, "labels": labels, "classes": classes}
    if missing := [name for name, path in given.items() if not path and not data_dir]:
        raise UserError(
            f"dataset folder: no {missing[0]} given: name a folder with {LAYOUT} by --data_dir, "
            "or all three by --images, --labels and --classes"
        )
    inside = {"images": "images", "labels": "labels", "classes": "classes.json"}
    return Paths(
        *(Path(path or Path(data_dir) / inside[name]).expanduser() for name, path in given.items())
    )


def _pairs(paths: Paths, split: str) -> list[Pair]:
    divided = [name for name in SPLITS if (paths.images / name).is_dir()]
    if divided and split not in divided:
        raise UserError(
            f"{paths.images} has no {split} split: it holds {', '.join(divided)}; add {split}/ "
            "there and among the labels"
        )
    part = split if divided else ""
    images, labels = paths.images / part, paths.labels / part
    pairs = match(
        by_stem(images, SUFFIXES, LAYOUT),
        by_stem(labels, SUFFIXES, LAYOUT),
        lambda name: labels / f"{name}.png",
    )
    return pairs if divided else _share(pairs, split, paths)


def _share(pairs, split, paths):
    """The part of `pairs` that is `split`; an image more or less moves few others."""
    if split == "test":
        raise UserError(
            f"{paths.images} has no test split: put test images into test/ there and among the "
            "labels, and the others into train/ and val/"
        )
    if len(pairs) < 2:
        raise UserError(f"{paths.images} holds one image: training and validation need one each")

    def place(pair):
        return hashlib.sha256(f"{SEED}/{pair.name}".encode()).digest()

    count = max(1, round(VAL_SHARE * len(pairs)))
    drawn = sorted(pairs, key=place)
    return sorted(drawn[:count] if split == "val" else drawn[count:])
