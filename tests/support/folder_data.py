"""Folder datasets as people have them, at tiny size, made by the test that reads them."""

import json

import numpy as np
from PIL import Image

from tests.support.dataset_files import write

SIZE = (6, 8)
TWO = {"names": ["background", "object"]}


def photo(name, size=SIZE):
    """The photo of that name."""
    return np.random.default_rng(list(name.encode())).integers(0, 256, (*size, 3), np.uint8)


def truth(number, size=SIZE):
    """0 with a rectangle of 1, of another size for every number."""
    label = np.zeros(size, np.uint8)
    label[1 : 3 + number % 3, 1:6] = 1
    return label


def dataset(folder, labels, table=None, suffix=".png", **options):
    """A dataset in `folder`: an image for each of {name: label array, or (array, palette)}."""
    for name, label in labels.items():
        label, palette = label if isinstance(label, tuple) else (label, None)
        write(folder / "images" / f"{name}.png", photo(name, label.shape[:2]))
        write(folder / "labels" / f"{name}{suffix}", label, palette, **options)
    write_table(folder, table or TWO)
    return folder


def write_table(folder, content, name="classes.json"):
    """The table of classes: JSON of `content`, or a text as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text, encoding="utf-8")


def turned(
    folder,
    size,
    orientation,
    drawn_upright=False,
    names=("train/0", "train/1", "train/2", "train/3", "val/8", "val/9"),
):
    """A dataset whose photos have an EXIF orientation; labels are drawn as they are stored."""
    tag = Image.Exif()
    tag[0x0112] = orientation
    for name in names:
        label = truth(int(name[-1]), size)
        shown = photo(name, size)
        write(folder / "images" / f"{name}.png", shown, exif=tag)
        label = np.rot90(label, -1) if drawn_upright else label
        write(folder / "labels" / f"{name}.png", label)
    return dataset(folder, {})
