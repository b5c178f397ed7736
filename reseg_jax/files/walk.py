"""The image files below a folder: links are followed, other files counted."""

import collections
import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from reseg_jax.errors import UserError


class Found(NamedTuple):
    """What a folder holds.

    Attributes:
      files: image files, as paths below the folder, sorted.
      ignored: {suffix: how many other files}, hidden ones left out.
    """

    files: list[Path]
    ignored: dict[str, int]

    @property
    def passed_over(self) -> str:
        """What the other files are, to follow a sentence; "" if there are none."""
        kinds = sorted(self.ignored.items(), key=lambda kind: (-kind[1], kind[0]))
        listed = ", ".join(f"{count} {suffix}" for suffix, count in kinds)
        return f"; {sum(self.ignored.values())} other files are not read: {listed}" if kinds else ""


def walk(folder: Path, suffixes: Collection[str], leave_out: Collection[Path] = ()) -> Found:
    """The files with one of `suffixes` in a folder and all folders in it.

    Symbolic links are followed. Hidden files and folders are passed over.

    Args:
      folder: to search.
      suffixes: in lower case, with the dot.
      leave_out: folders that are not searched.

    Raises:
      UserError: a folder cannot be read, or a link leads back to a folder that holds it.
    """
    files, ignored = [], collections.Counter()
    without = {os.path.realpath(path) for path in leave_out}

    def visit(place, above):
        real = os.path.realpath(place)
        if real in above:
            raise UserError(
                f"{place} is a link to {real}, which holds it: remove the link, files would be "
                "found again and again"
            )
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            raise UserError(f"{place} cannot be read: {error.strerror}") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if os.path.realpath(entry.path) not in without:
                    visit(entry.path, above | {real})
            elif os.path.splitext(entry.name)[1].lower() in suffixes:
                files.append(Path(entry.path).relative_to(folder))
            else:
                ignored[os.path.splitext(entry.name)[1].lower() or "no suffix"] += 1

    visit(str(folder), frozenset())
    return Found(sorted(files), dict(ignored))
