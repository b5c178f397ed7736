"""Where a folder dataset is: by one folder that holds all, or by the three places.

The one folder holds images/ and labels/, under these or the usual other names, or a folder per
split that holds them (train/images, train/masks). Whatever is not called as documented is said.
"""

import functools
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from data.folder import dividing
from data.folder.table import FILES
from reseg_jax.errors import UserError

LAYOUT = "images/ and labels/ with files of equal names, and classes.json"

NAMES = {
    "images": ("images", "image", "imgs", "img", "photos", "jpegimages", "leftimg8bit"),
    "labels": (
        *("labels", "label", "masks", "mask", "annotations", "annotation", "segmentationclass"),
        *("gtfine", "gt", "ground_truth", "groundtruth"),
    ),
}
"""What folders of images and of label files are called, in any case; also by Pascal VOC, ADE20K and
Cityscapes. The first of each is the documented one."""

_log = logging.getLogger("reseg_jax.data.folder")  # below reseg_jax, which commands show


class Places(NamedTuple):
    """Where things are: two folders and the table of classes.

    Attributes:
      images, labels: the folders; the same if one holds both.
      classes: the table.
      by_split: {split: folders of its images and labels, below `images` and `labels`} if each split
        has its own; {} if the two folders hold all.
    """

    images: Path
    labels: Path
    classes: Path
    by_split: Mapping[str, tuple[str, str | None]] = MappingProxyType({})

    @property
    def together(self) -> bool:
        """Whether one folder holds images and labels, and nothing else tells them apart."""
        same = os.path.realpath(self.images) == os.path.realpath(self.labels)
        return same and not self.by_split


def find(
    data_dir: str | os.PathLike | None = None,
    images: str | os.PathLike | None = None,
    labels: str | os.PathLike | None = None,
    classes: str | os.PathLike | None = None,
) -> Places:
    """The places that are named.

    Raises:
      UserError: one is not named, or not there.
    """
    given = {"images": images, "labels": labels, "classes": classes}
    if missing := [name for name, path in given.items() if not path and not data_dir]:
        raise UserError(
            f"dataset folder: no {missing[0]} given: name a folder with {LAYOUT} by --data_dir, "
            "or all three by --images, --labels and --classes"
        )
    top = Path(data_dir).expanduser() if data_dir else None
    paths = {name: Path(path).expanduser() for name, path in given.items() if path}
    by_split = {}
    if top and not (images or labels) and not _named(top, "images"):
        by_split = _find_splits(top)
    for name in ("images", "labels"):
        if name not in paths:
            found = None if by_split else _named(top, name)
            paths[name] = top if by_split else found or top / name
            if found and found.name != name:
                say(f"{name} are those in {found}")
    if "classes" not in paths:
        tables = [top / name for name in FILES if (top / name).is_file()]
        paths["classes"] = tables[0] if tables else top / FILES[0]
        if len(tables) > 1:
            say(f"classes from {tables[0]}; {', '.join(map(str, tables[1:]))} not read")
    for name in ("images", "labels"):
        if not paths[name].is_dir():
            raise UserError(f"{paths[name]} is not there: {_there(top, name)}")
    return Places(**paths, by_split=by_split)


def _named(top, name) -> Path | None:
    """The folder in `top` that is called as images or labels are; the documented name counts first.

    Raises:
      UserError: several are.
    """
    folders = _folders(top)
    found = [folder for folder in folders if folder.name.lower() in NAMES[name]]
    exact = [folder for folder in found if folder.name == name]
    if len(found) > 1 and not exact:
        raise UserError(
            f"{top} holds {' and '.join(folder.name for folder in found)}: say by --{name} which "
            f"of them holds the {name}"
        )
    return (exact or found or [None])[0]


def _find_splits(top) -> dict[str, tuple[str, str | None]]:
    """{split: folders of its images and labels} of folders called train/images and the like.

    Raises:
      UserError: two folders are the same split, or one that holds images is none.
    """
    found, others = {}, []
    for folder in _folders(top):
        split, inner = dividing.split_of(folder.name), _named(folder, "images")
        if not inner:
            continue
        if not split:
            others.append(folder)
        elif split in found:
            raise UserError(
                f"{top} holds {Path(found[split][0]).parts[0]} and {folder.name}, which both look "
                f"like the {split} split: put the images of one split into one folder"
            )
        else:
            inside = (inner, _named(folder, "labels"))
            found[split] = tuple(path and path.relative_to(top).as_posix() for path in inside)
    if "train" not in found:
        return {}
    if others:
        raise UserError(
            f"{others[0]} holds images and is called as no split, beside the splits "
            f"{', '.join(found)} of {top}: rename it, or move it away"
        )
    say(f"images and labels by split: {', '.join(image for image, _ in found.values())}")
    return {split: found[split] for split in dividing.SPLITS if split in found}


def _folders(top) -> list[Path]:
    """The folders in `top`, if that is one."""
    if not top.is_dir():
        return []
    return sorted(path for path in top.iterdir() if path.is_dir())


def _there(top, name):
    """What to do if a folder is missing; it names the folders that are there."""
    folders = _folders(top) if top else []
    if folders:
        listed = ", ".join(folder.name for folder in folders[:6]) + (
            ", ..." if len(folders) > 6 else ""
        )
        both = ", or one folder that holds both by --images and --labels"
        return f"the layout is {LAYOUT}; {top} holds {listed}: name the folder by --{name}{both}"
    return f"the layout is {LAYOUT}"


@functools.cache
def say(remark: str) -> None:
    """Logs a remark once per process: a dataset is surveyed several times."""
    _log.info("%s", remark)
