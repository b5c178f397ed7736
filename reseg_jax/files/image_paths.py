"""Which images a user means: by a file, a folder or a pattern."""

import glob
import logging
import os
import pathlib

from reseg_jax.errors import UserError
from reseg_jax.files.images import SUFFIXES

_log = logging.getLogger(__name__)


def list_images(pattern: str) -> list[pathlib.Path]:
    """The images that a user named.

    Args:
      pattern: FILE, DIR or GLOB, and whatever exists is no GLOB, whatever its name. A file is taken
        whatever it is called; in a folder with all folders in it, and among the matches of a glob,
        only image files are, by suffix. A glob's suffix is matched in any case, `*.jpg` as `.JPG`.
        Hidden files and folders are passed over; what else is left out is logged.

    Returns:
      Paths, sorted.

    Raises:
      UserError: there is none, or a folder leads back to one above it.
    """
    path, root = pathlib.Path(pattern).expanduser(), root_of(pattern)
    if os.path.isfile(path):  # which no name is too long for
        return [path]
    looked = ", ".join(SUFFIXES)
    if root == path:
        found = list(_walk(root))
        problem = f"the folder {pattern} holds no image ({looked})"
    else:
        inner = _any_case(path.relative_to(root).as_posix())
        found = [root / match for match in glob.iglob(inner, root_dir=root, recursive=True)]
        problem = f"no image ({looked}) matches {pattern}"
        if not found and not glob.has_magic(inner):
            problem = f"{pattern} does not exist: give an image, a folder of images or a pattern"
    files = [file for file in found if not file.name.startswith(".") and file.is_file()]
    images = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not images:
        raise UserError(problem)
    if others := sorted(set(files) - set(images)):
        count = f"{len(others)} files that are" if len(others) > 1 else "1 file that is"
        _log.warning("%s: %s no image left out, %s first", pattern, count, others[0])
    return sorted(images)


def root_of(pattern: str) -> pathlib.Path:
    """The folder below which `list_images` finds what `pattern` names: it exists."""
    path = pathlib.Path(pattern).expanduser()
    return next(folder for folder in (path, *path.parents, pathlib.Path()) if os.path.isdir(folder))


def _any_case(pattern):
    """A pattern whose suffix is matched in any case."""
    stem, dot, suffix = pattern.rpartition(".")
    if not dot or not suffix.isalnum() or not glob.has_magic(stem):
        return pattern
    return f"{stem}." + "".join(f"[{c.lower()}{c.upper()}]" for c in suffix)


def _walk(folder, above=()):
    """The files in a folder and in those in it, symbolic links followed."""
    real = folder.resolve()
    if real in above:
        raise UserError(f"{folder} leads back to a folder that it is in: remove the link")
    for path in sorted(folder.iterdir()):
        if not path.name.startswith("."):
            yield from _walk(path, (*above, real)) if path.is_dir() else (path,)
