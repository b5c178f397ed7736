"""Which images a user means: by a file, a folder or a pattern."""

import glob
import logging
import os
from collections.abc import Collection
from pathlib import Path

from reseg_jax.errors import UserError
from reseg_jax.files.images import SUFFIXES
from reseg_jax.files.walk import walk

_log = logging.getLogger(__name__)


def list_images(pattern: str, leave_out: Collection[Path] = ()) -> tuple[Path, list[Path]]:
    """The images that a user named.

    Args:
      pattern: FILE, DIR or GLOB. A file is taken whatever it is called; in a folder, all folders in
        it, and among the matches of a glob only image files are, by suffix. Names of folders that
        are there are taken as they are, brackets too; the suffix of a glob may be in any case.
      leave_out: folders that are not searched.

    Returns:
      (the folder that holds all of them, their paths, sorted).

    Raises:
      UserError: there is none, or a link leads back to a folder that holds it.
    """
    path = Path(pattern).expanduser()
    if os.path.isfile(path):  # which no name is too long for
        return path.parent, [path]
    looked = ", ".join(SUFFIXES)
    if os.path.isdir(path):
        found = walk(path, SUFFIXES, leave_out)
        if not found.files:
            raise UserError(f"the folder {pattern} holds no image ({looked}){found.passed_over}")
        if found.ignored:
            _log.warning("%s: %d images%s", pattern, len(found.files), found.passed_over)
        return path, [path / file for file in found.files]
    matches = map(Path, glob.iglob(_escaped(str(path)), recursive=True))
    without = {os.path.realpath(folder) for folder in leave_out}
    images = [
        match
        for match in matches
        if match.suffix.lower() in SUFFIXES
        and not match.name.startswith(".")
        and match.is_file()
        and not (without and without & {os.path.realpath(folder) for folder in match.parents})
    ]
    if not images and not glob.has_magic(pattern):
        raise UserError(f"{pattern} does not exist: give an image, a folder of images or a pattern")
    if not images:
        raise UserError(f"no image ({looked}) matches {pattern}")
    return Path(os.path.commonpath([image.parent for image in images])), sorted(set(images))


def _escaped(pattern: str) -> str:
    """A glob in which folders that are there stand for themselves, and suffixes have any case."""
    place, rest = "", pattern
    while "/" in rest.lstrip("/"):
        head, slash, after = rest.partition("/")
        if head and not os.path.isdir(place + head):
            break
        place, rest = place + head + slash, after
    stem, dot, suffix = rest.rpartition(".")
    if dot and suffix.isalnum():
        rest = f"{stem}.{''.join(f'[{c.lower()}{c.upper()}]' for c in suffix)}"
    return glob.escape(place) + rest
