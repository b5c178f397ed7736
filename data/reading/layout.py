"""Which folder is meant, and which label file belongs to which image file."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from reseg_jax.errors import UserError
from reseg_jax.files.walk import walk


class Pair(NamedTuple):
    """An image file and its label file.

    Attributes:
      name: what both are called, without suffix.
      image, label: the files.
    """

    name: str
    image: Path
    label: Path


def search(
    data_dir: str | os.PathLike | None,
    names: Iterable[str],
    is_it: Callable[[Path], bool],
    what: str,
    layout: str,
) -> Path | None:
    """The folder of a dataset, in the folder that the user names or that folder itself.

    Args:
      data_dir: the folder that is named; else the environment variable RESEG_DATA names it.
      names: what the dataset's folder may be called.
      is_it: whether a folder is the dataset's.
      what, layout: the dataset and what its folder holds, for messages.

    Returns:
      The first folder for which `is_it`; None if no folder is named.

    Raises:
      UserError: a folder is named, and the dataset is not in it.
    """
    given = data_dir or os.environ.get("RESEG_DATA")
    if not given:
        return None
    source = "--data_dir" if data_dir else "RESEG_DATA"
    folder = Path(given).expanduser()
    candidates = [*(folder / name for name in names), folder]
    if not folder.is_dir():
        raise UserError(
            f"{source}={given} is no folder: give the folder that holds {candidates[0].name}/"
        )
    for candidate in candidates:
        if is_it(candidate):
            return candidate
    searched = ", ".join(map(str, candidates))
    raise UserError(f"{source}={given} holds no {what}: searched {searched} for {layout}")


def by_stem(folder: Path, suffixes: Iterable[str], layout: str) -> dict[str, Path]:
    """{path below `folder` without suffix: path} of the files with one of `suffixes`, sorted.

    Links are followed; hidden files and folders are passed over.

    Args:
      folder: searched with all folders in it.
      suffixes: in lower case, with the dot.
      layout: what should be there, for messages.

    Raises:
      UserError: the folder is missing or holds no such file, or two differ only in their suffix.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not there: the layout is {layout}")
    found = {}
    for below in walk(folder, suffixes).files:
        path, name = folder / below, below.with_suffix("").as_posix()
        if name in found:
            raise UserError(f"{found[name]} and {path} have the same name: move or rename one")
        found[name] = path
    if not found:
        raise UserError(f"{folder} holds no {' or '.join(suffixes)} file: fill or remove it")
    return found


def match(
    images: dict[str, Path], labels: dict[str, Path], expected: Callable[[str], Path]
) -> list[Pair]:
    """The pairs of equal names, sorted.

    Args:
      images, labels: files by name, from `by_stem`.
      expected: name -> the label file that an image of that name needs, for the message.

    Raises:
      UserError: an image has no label, or a label no image.
    """
    if unmatched := sorted(images.keys() - labels.keys()):
        first = unmatched[0]
        raise UserError(
            f"{images[first]} has no label: expected {expected(first)}{_more(unmatched)}"
        )
    if unmatched := sorted(labels.keys() - images.keys()):
        first = unmatched[0]
        raise UserError(
            f"{labels[first]} has no image: expected one called {first}{_more(unmatched)}"
        )
    return [Pair(name, images[name], labels[name]) for name in sorted(images)]


def check_sizes(pair: Pair, image_shape: tuple[int, ...], label_shape: tuple[int, ...]) -> None:
    """Refuses a label of another size than its image.

    Args:
      pair: the files, for the message.
      image_shape, label_shape: (H, W, ...) each.

    Raises:
      UserError: the sizes differ.
    """
    if image_shape[:2] != label_shape[:2]:
        raise size_error(pair, image_shape, label_shape)


def size_error(
    pair: Pair, image_shape: tuple[int, ...], label_shape: tuple[int, ...], more: int = 0
) -> UserError:
    """The error of a label of another size than its image; `more` pairs are like it."""
    (image_height, image_width), (height, width) = image_shape[:2], label_shape[:2]
    return UserError(
        f"{pair.label} is {width}x{height} but its image {pair.image} is "
        f"{image_width}x{image_height}{f' ({more} more like it)' if more else ''}: give both the "
        "same size"
    )


def _more(unmatched):
    return f" ({len(unmatched) - 1} more like it)" if len(unmatched) > 1 else ""
