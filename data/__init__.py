"""Datasets by name: each is a folder here that exposes `load(split, data_dir, ...)` and `CLASSES`.

`folder`, whose classes are a file of the user's, has a function `classes(data_dir, ...)` instead.
Some datasets have options, keywords of `load` beyond these two; their README.md says which.
"""

import importlib
import inspect
from collections.abc import Iterable
from typing import Any

from data.example import SPLITS, Example
from data.reading.layout import Pair
from reseg_jax.errors import UserError
from reseg_jax.labels import Classes, LabelReading

__all__ = ["NAMES", "SPLITS", "Example", "classes", "load", "pairs", "parse_options", "splits"]

NAMES = ("camvid", "digits", "folder", "oxford_flowers17", "toy", "weizmann_horse")


_OLD_OPTIONS = {"unlabelled": "unlabeled"}  # what options were called before


def classes(
    name: str, data_dir: str | None = None, reading: LabelReading | None = None, **options: str
) -> Classes:
    """The class names, palette and reading of labels of a dataset; arguments as for `load`."""
    dataset = _dataset(name, options)
    if hasattr(dataset, "CLASSES"):
        return dataset.CLASSES
    return dataset.classes(data_dir, reading=reading, **options)


def load(
    name: str,
    split: str,
    data_dir: str | None = None,
    reading: LabelReading | None = None,
    **options: str,
) -> list[Example]:
    """A split, decoded and in memory.

    Args:
      name: one of `NAMES`.
      split: "train", "val" or "test".
      data_dir: where the files are; the dataset's README.md says what is searched for there, and
        what happens without it.
      reading: how a run read the label files of a dataset that has more than one way.
      **options: the dataset's own, listed in its README.md.

    Raises:
      UserError: the data is missing or broken, or a name or an option is unknown.
    """
    dataset = _dataset(name, options)
    if split not in SPLITS:
        raise UserError(f"split {split!r} is unknown; known are: {', '.join(SPLITS)}")
    more: dict[str, Any] = {} if hasattr(dataset, "CLASSES") else {"reading": reading}
    return dataset.load(split, data_dir, **more, **options)


def pairs(name: str, data_dir: str | None = None, **options: str) -> dict[str, list[Pair]] | None:
    """{split: its image and label files} of files that a user brings; else None.

    Arguments are as for `load`. A dataset that is downloaded, drawn or known by checksums has None.
    """
    dataset = _dataset(name, options)
    return dataset.pairs(data_dir, **options) if hasattr(dataset, "pairs") else None


def splits(name: str, data_dir: str | None = None) -> list[str]:
    """The splits that are there, in the order of `SPLITS`."""
    dataset = _dataset(name, {})
    return dataset.splits(data_dir) if hasattr(dataset, "splits") else list(SPLITS)


def parse_options(texts: Iterable[str]) -> dict[str, str]:
    """The options of `load` from "name=value" texts, as flags and settings have them.

    Old spellings, which old runs have, are known.

    Raises:
      UserError: a text is not of that form.
    """
    pairs = [text.partition("=") for text in texts]
    for name, separator, value in pairs:
        if not (name and separator and value):
            raise UserError(f"--data_options={name}{separator}{value}: write name=value")
    return {_OLD_OPTIONS.get(name, name): value for name, _, value in pairs}


def _dataset(name, options):
    if name not in NAMES:
        raise UserError(f"dataset {name!r} is unknown; known are: {', '.join(NAMES)}")
    dataset = importlib.import_module(f"{__name__}.{name}")
    known = [
        each for each in list(inspect.signature(dataset.load).parameters)[2:] if each != "reading"
    ]
    for option in options:
        if option not in known:
            has = f"has {', '.join(known)}" if known else "has none"
            raise UserError(f"dataset {name} has no option {option!r}: it {has}")
    return dataset
