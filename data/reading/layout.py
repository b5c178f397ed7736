"""What datasets share about files: which folder is meant, and which label is whose."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from reseg_jax.errors import UserError


class Pair(NamedTuple):
    """An image file and its label file."""

    name: str  # what both are called, without suffix
    image: Path
    label: Path


def search(
    data_dir: str | os.PathLike | None,
    names: Iterable[str],
    is_it: Callable[[Path], bool],
    what: str,
    layout: str,
) -> Path | None:
    """The first of `names` in the folder that is given, or that folder itself, for which `is_it`.

    Given is data_dir, or else the folder that the environment variable RESEG_DATA names; None
    where neither is. A UserError where none of them is it.
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
    looked = ", ".join(map(str, candidates))
    raise UserError(f"{source}={given} holds no {what}: looked in {looked} for {layout}")


def by_stem(folder: Path, suffixes: Iterable[str], layout: str) -> dict[str, Path]:
    """{path below `folder` without suffix: path} of the files with one of `suffixes`, sorted.

    Hidden files and folders are passed over. A UserError where the folder is not there or holds
    none, and where two files differ in their suffix alone.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not there: the layout is {layout}")
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix.lower() not in suffixes or any(part[0] == "." for part in inside.parts):
            continue
        name = inside.with_suffix("").as_posix()
        if name in found:
            raise UserError(f"{found[name]} and {path} have the same name: remove one")
        found[name] = path
    if not found:
        raise UserError(f"{folder} holds no {' or '.join(suffixes)} file: fill or remove it")
    return found


def match(images: dict[str, Path], labels: dict[str, Path], expected: Callable) -> list[Pair]:
    """The pairs of equal names, sorted; a UserError unless each image has a label and reversely.

    expected: (name) -> the label file that an image of that name wants, for the message.
    """
    if lone := sorted(images.keys() - labels.keys()):
        raise UserError(
            f"{images[lone[0]]} has no label: expected {expected(lone[0])}{_more(lone)}"
        )
    if lone := sorted(labels.keys() - images.keys()):
        raise UserError(
            f"{labels[lone[0]]} has no image: expected one called {lone[0]}{_more(lone)}"
        )
    return [Pair(name, images[name], labels[name]) for name in sorted(images)]


def check_sizes(pair: Pair, image_shape: tuple[int, ...], label_shape: tuple[int, ...]) -> None:
    """A UserError where [H, W, 3] and [H, W] do not fit."""
    (image_height, image_width), (height, width) = image_shape[:2], label_shape[:2]
    if (image_height, image_width) != (height, width):
        raise UserError(
            f"{pair.label} is {width}x{height} but its image {pair.image} is "
            f"{image_width}x{image_height}: give both the same size"
        )


def _more(lone):
    return f" ({len(lone) - 1} more like it)" if len(lone) > 1 else ""
