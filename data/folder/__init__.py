"""Anybody's images and labels: two folders of files and a table of classes.

    data.load("folder", "train", "mydata")  # mydata/images, mydata/labels, mydata/classes.json
    data.load("folder", "train", images="photos", labels="masks", classes="classes.json")

README.md says which files go together, how labels are read and how images are divided. `lazy` gives
the same examples as a source that decodes them on demand, for a set larger than memory.
"""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from data.example import SPLITS, Example
from data.folder.table import read_label, read_table
from data.reading.decode import decode_all, header_size
from data.reading.layout import Pair, by_stem, check_sizes, match
from data.sources import Lazy
from reseg_jax.errors import UserError
from reseg_jax.files.images import SUFFIXES, read_image
from reseg_jax.labels import Classes

LAYOUT = "images/ and labels/ with files of equal names, and classes.json"
VAL_SHARE = 0.2  # of images that nobody has divided; our choice
SEED = 2016  # of that division; the year of the paper


class Paths(NamedTuple):
    """Where things are: two folders and the table of classes."""

    images: Path
    labels: Path
    classes: Path


def classes(data_dir: str | os.PathLike | None = None, **options) -> Classes:
    """The classes that the table names.

    Args:
      data_dir: as for `load`.
      **options: images, labels and classes, as for `load`.

    Raises:
      UserError: the table is missing or wrong.
    """
    return read_table(_find(data_dir, **options).classes).classes


def load(
    split: str,
    data_dir: str | os.PathLike | None = None,
    images: str | os.PathLike | None = None,
    labels: str | os.PathLike | None = None,
    classes: str | os.PathLike | None = None,
) -> list[Example]:
    """A split, decoded and in memory, sorted by name.

    Args:
      split: "train", "val" or "test".
      data_dir: the folder that holds images/, labels/ and classes.json.
      images, labels, classes: each takes the place of one of these three.

    Raises:
      UserError: names the first file that does not fit.
    """
    source = lazy(split, data_dir, images, labels, classes)
    return decode_all(lambda pair: Example(pair.name, *source.read(pair)), source.pairs)


def lazy(
    split: str,
    data_dir: str | os.PathLike | None = None,
    images: str | os.PathLike | None = None,
    labels: str | os.PathLike | None = None,
    classes: str | os.PathLike | None = None,
) -> Lazy:
    """A split as a source for `data.batches.Batches`, decoded on demand; arguments as for `load`.

    Raises:
      UserError: a folder, the table or one of a pair of files is missing; a file that does not fit
        raises it when it is read.
    """
    paths = _find(data_dir, images, labels, classes)
    table = read_table(paths.classes)

    def read(pair):
        image, label = read_image(pair.image), read_label(pair.label, table)
        check_sizes(pair, image.shape, label.shape)
        return image, label

    return Lazy(_pairs(paths, split), read, lambda pair: header_size(pair.label))


def _find(data_dir=None, images=None, labels=None, classes=None):
    given = {"images": images, "labels": labels, "classes": classes}
    if missing := [name for name, path in given.items() if not path and not data_dir]:
        raise UserError(
            f"dataset folder: no {missing[0]} given: name a folder with {LAYOUT} by --data_dir, "
            "or all three by --images, --labels and --classes"
        )
    usual = {"images": "images", "labels": "labels", "classes": "classes.json"}
    return Paths(
        *(Path(path or Path(data_dir) / usual[name]).expanduser() for name, path in given.items())
    )


def _pairs(paths: Paths, split: str) -> list[Pair]:
    divided = [name for name in SPLITS if (paths.images / name).is_dir()]
    if divided and split not in divided:
        raise UserError(
            f"{paths.images} has no {split} split: it holds {', '.join(divided)}; add {split}/ "
            "there and among the labels"
        )
    subfolder = split if divided else ""
    images, labels = paths.images / subfolder, paths.labels / subfolder
    pairs = match(
        by_stem(images, SUFFIXES, LAYOUT),
        by_stem(labels, SUFFIXES, LAYOUT),
        lambda name: labels / f"{name}.png",
    )
    return pairs if divided else _share(pairs, split, paths)


def _share(pairs, split, paths):
    """The share of `pairs` that is `split`; an image more or less moves few others."""
    if split == "test":
        raise UserError(
            f"{paths.images} has no test split: put test images into test/ there and among the "
            "labels, and the others into train/ and val/"
        )
    if len(pairs) < 2:
        raise UserError(f"{paths.images} holds one image: training and validation need one each")

    def draw(pair):
        return hashlib.sha256(f"{SEED}/{pair.name}".encode()).digest()

    count = max(1, round(VAL_SHARE * len(pairs)))
    drawn = sorted(pairs, key=draw)
    return sorted(drawn[:count] if split == "val" else drawn[count:])
