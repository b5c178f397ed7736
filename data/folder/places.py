"""Where a folder dataset is: by one folder that holds all, or by the three places."""

import functools
import logging
import os
from pathlib import Path
from typing import NamedTuple

from data.folder.table import FILES
from reseg_jax.errors import UserError

LAYOUT = "images/ and labels/ with files of equal names, and classes.json"

_log = logging.getLogger("reseg_jax.data.folder")  # below reseg_jax, which commands show


class Places(NamedTuple):
    """Where things are: two folders and the table of classes."""

    images: Path
    labels: Path
    classes: Path

    @property
    def together(self) -> bool:
        """Whether one folder holds images and labels."""
        return os.path.realpath(self.images) == os.path.realpath(self.labels)


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
    for name in ("images", "labels"):
        paths.setdefault(name, top / name if top else None)
    if "classes" not in paths:
        tables = [top / name for name in FILES if (top / name).is_file()]
        paths["classes"] = tables[0] if tables else top / FILES[0]
        if len(tables) > 1:
            say(f"classes from {tables[0]}; {', '.join(map(str, tables[1:]))} not read")
    for name in ("images", "labels"):
        if not paths[name].is_dir():
            raise UserError(f"{paths[name]} is not there: {_there(top, name)}")
    return Places(**paths)


def _there(top, name):
    """What to do if a folder is missing; it names the folders that are there."""
    folders = (
        sorted(path.name for path in top.iterdir() if path.is_dir()) if top and top.is_dir() else []
    )
    if folders:
        listed = ", ".join(folders[:6]) + (", ..." if len(folders) > 6 else "")
        return f"the layout is {LAYOUT}; {top} holds {listed}: name the folder by --{name}"
    return f"the layout is {LAYOUT}"


@functools.cache
def say(remark: str) -> None:
    """Logs a remark once per process: a dataset is surveyed several times."""
    _log.info("%s", remark)
