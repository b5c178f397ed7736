"""Which images predict segments, what it calls them, and which label belongs to which."""

import collections
import functools
import sys
from collections.abc import Iterable
from pathlib import Path

from reseg_jax.errors import UserError
from reseg_jax.files import image_paths


def by_name(paths: list[Path], root: Path) -> dict[str, Path]:
    """{NAME: path}: what predictions are called, which tells them apart.

    Args:
      paths: the images.
      root: the folder below which they are.
    """
    named, count = {}, collections.Counter(map(functools.partial(_key, root), paths))
    for path in paths:
        key = _key(root, path)
        name = key if count[key] == 1 else path.relative_to(root).as_posix()
        if name in named:
            raise UserError(f"{named[name]} and {path} have the same name: rename one")
        named[name] = path
    return named


def _key(root, path):
    """The path below `root` without its suffix."""
    return path.relative_to(root).with_suffix("").as_posix()


def without_predictions(paths: list[Path], root: Path, output: Path) -> list[Path]:
    """The images but for those in a folder --output inside the folder --input."""
    if root.resolve() not in output.resolve().parents:
        return paths
    kept = [path for path in paths if output.resolve() not in path.resolve().parents]
    if not kept:
        raise UserError(f"--input={root} holds no image outside --output={output}")
    if len(kept) < len(paths):
        count = len(paths) - len(kept)
        print(f"{output}: {count} files there are predictions, no input", file=sys.stderr)
    return kept


def find_labels(paths: Iterable[Path], root: Path, labels: str) -> dict[Path, Path]:
    """{image: its label file} of the images that have one.

    Args:
      paths: the images.
      root: the folder below which they are.
      labels: the folder of label files, in the same folders as the images, or in none if the
        images' own names tell them apart.
    """
    files, folder = {}, image_paths.root_of(labels)
    for path in image_paths.list_images(labels):
        if (key := _key(folder, path)) in files:
            raise UserError(f"{files[key]} and {path} have the same name: rename one")
        files[key] = path
    # Several images of one name in other folders, and so of other keys, have no label in common.
    keys = {path: _key(root, path) for path in paths}
    stems = collections.Counter(path.stem for path, key in keys.items() if key not in files)
    found = {}
    for path, key in keys.items():
        if key in files:
            found[path] = files[key]
        elif path.stem in files and stems[path.stem] == 1:
            found[path] = files[path.stem]
    return found
