"""Datasets by name: each is a folder here that exposes `CLASSES` and `load(split, data_dir)`."""

import importlib

from data.example import SPLITS, Example
from reseg_jax.config import Classes
from reseg_jax.errors import UserError

__all__ = ["NAMES", "SPLITS", "Example", "classes", "load"]

NAMES = ("camvid", "toy")


def classes(name: str) -> Classes:
    """The class names, palette and void value of a dataset."""
    return _dataset(name).CLASSES


def load(name: str, split: str, data_dir: str | None = None) -> list[Example]:
    """A split ("train", "val" or "test"), decoded and in memory.

    data_dir: where the files are; what is looked for there, and what happens without it, is in
    the dataset's README.md. A UserError where the data is missing or broken.
    """
    dataset = _dataset(name)
    if split not in SPLITS:
        raise UserError(f"split {split!r} is unknown; known are: {', '.join(SPLITS)}")
    return dataset.load(split, data_dir)


def _dataset(name):
    if name not in NAMES:
        raise UserError(f"dataset {name!r} is unknown; known are: {', '.join(NAMES)}")
    return importlib.import_module(f"{__name__}.{name}")
