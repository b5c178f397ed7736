"""What predictions are called, and which label file belongs to which image."""

import collections
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.folder import label_rule, pairing, survey
from data.folder.table import read_table
from data.reading.layout import Pair
from data.reading.orientation import check_headers
from reseg_jax.errors import UserError
from reseg_jax.files.label_reading import read_label
from reseg_jax.labels import VOID, LabelReading

KINDS = ("labels", "color", "overlay", "panels", "uncertainty")
"""NAME_KIND.png is what a prediction's file is called."""


def by_name(top: Path, paths: Sequence[Path]) -> dict[str, Path]:
    """Paths by what predictions are called: the path below `top` without suffix if that is one's.

    Of a.jpg and a.png both keep their suffix.
    """
    names = [path.relative_to(top).with_suffix("").as_posix() for path in paths]
    counts = collections.Counter(names)
    return {
        name if counts[name] == 1 else path.relative_to(top).as_posix(): path
        for name, path in zip(names, paths, strict=True)
    }


def find_labels(
    top: Path,
    paths: Sequence[Path],
    labels_top: Path,
    labels: Sequence[Path],
    pattern: str | None = None,
) -> dict[Path, Path]:
    """{image: its label file} of those that have one; `pattern` as in `data.folder.load`."""
    photos, label_files = (
        survey.list_files(folder, {"": [path.relative_to(folder) for path in found]})
        for folder, found in ((top, paths), (labels_top, labels))
    )
    if set(paths) == set(labels) and len(paths) > 1:  # both in one folder
        found = pairing.pair(photos, photos, (top, top), pattern)
        return {pair.image: pair.label for pair in found.pairs}
    return pairing.partners(photos, label_files, pattern)


def read_by(table: str | Path, labels: Sequence[Path], trained: LabelReading) -> LabelReading:
    """How label files of a table are read: as in training if the table allows it."""
    table = read_table(table)
    if trained in label_rule.candidates(table).values():
        return trained
    return label_rule.decide(table, survey.summarize_all(labels))


def check_classes(reading: LabelReading, num_classes: int, table: str | Path) -> None:
    """UserError if a table has other classes than the network."""
    count = len({label for _, label in reading.meaning if label != VOID})
    if count != num_classes:
        raise UserError(
            f"{table} has {count} classes, and the network {num_classes}: give the table that it "
            "was trained with"
        )


def refuse_overwriting(output: Path, inputs: dict[str, Path], truths: dict[Path, Path]) -> None:
    """UserError if a prediction would take the place of an input."""
    ours = {path.resolve() for path in (*inputs.values(), *truths.values())}
    for name in inputs:
        for kind in KINDS:
            if (path := output / f"{name}_{kind}.png").resolve() in ours:
                raise UserError(f"{path} would be overwritten: choose another --output")


def read_truth(
    path: Path,
    size: tuple[int, int],
    truths: dict[Path, Path],
    reading: LabelReading,
    exif: str | None = None,
) -> np.ndarray:
    """The label [H, W] of the image at `path`, which has this size."""
    if path not in truths:
        raise UserError(
            f"{path} has no label: none of the label files is called {path.stem}, with or without "
            "one of the usual additions (--label_pattern={name}_mask.png names another)"
        )
    check_headers([Pair(path.stem, path, truths[path])], exif)
    label = read_label(truths[path], reading, upright=exif != "ignore")
    if label.shape != size:  # which the header did not say
        raise UserError(f"{truths[path]} is not of the size of {path}: save it again")
    return label
