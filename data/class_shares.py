"""How often each class occurs in each split, looked at before the first update.

Dimension key: `K` classes.
"""

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from data.example import Example
from reseg_jax.errors import UserError
from reseg_jax.labels import VOID, Classes

_log = logging.getLogger("reseg_jax.data.class_shares")  # below reseg_jax, which commands show


def count_pixels(examples: Sequence[Example], num_classes: int) -> np.ndarray:
    """Pixels of each class and, last, of void: int64 [K + 1]."""
    pixels = np.zeros(VOID + 1, np.int64)
    for example in examples:
        pixels += np.bincount(example.label.ravel(), minlength=VOID + 1)
    return np.append(pixels[:num_classes], pixels[VOID])


def check(pixels: Mapping[str, np.ndarray], classes: Classes, allow_missing: bool = False) -> None:
    """Refuses splits that nothing can be learned from.

    Args:
      pixels: {split: what `count_pixels` gave}, with "train".
      classes: of the dataset.
      allow_missing: a class without a pixel in training is logged and not refused.

    Raises:
      UserError: a split has no labeled pixel, or a class has none in training.
    """
    for split, counts in pixels.items():
        if not counts.sum():
            raise UserError(f"the {split} split holds no image: add some")
        if not counts[:-1].sum():
            raise UserError(
                f"the {split} split has no labeled pixel: all {counts[-1]} are void"
                f"{_void_values(classes)}; label some, or name the values of the classes in the "
                "table of classes"
            )
    if missing := _missing(pixels["train"], classes):
        names = ", ".join(classes.names[index] for index in missing)
        has = f"class {names} has" if len(missing) == 1 else f"classes {names} have"
        problem = f"{has} no pixel in training"
        if pixels["train"][-1] and (void := _void_values(classes, "{} is read as void and ")):
            problem = f"{void}{problem}"
        if not allow_missing:
            raise UserError(
                f"{problem} ({_values(classes, missing)}): mend the labels or the table of "
                "classes, or train without by --allow_missing_classes"
            )
        _log.warning("warning: %s", problem)
    for split, counts in pixels.items():
        absent = [index for index in _missing(counts, classes) if pixels["train"][index]]
        if split != "train" and absent:
            names = ", ".join(classes.names[index] for index in absent)
            _log.warning(
                "warning: no pixel in %s of: %s; nothing says how well they are", split, names
            )


def describe(split: str, images: int, pixels: np.ndarray, classes: Classes) -> str:
    """One line: the share of every class among the labeled pixels of a split."""
    labeled = max(1, pixels[:-1].sum())
    shares = ", ".join(
        f"{name} {100 * count / labeled:.3g}"
        for name, count in zip(classes.names, pixels[:-1].tolist(), strict=True)
    )
    void = 100 * pixels[-1] / max(1, pixels.sum())
    return f"{split}: {images} images, {void:.3g} % void; of the labeled pixels, in %: {shares}"


def _missing(counts, classes):
    return [index for index in range(len(classes.names)) if not counts[index]]


def _void_values(classes, form=" ({} is void)"):
    """Which values are void, for labels that are read by their numbers; else ""."""
    reading = classes.label_reading
    void = [str(key) for key, label in reading.meaning if label == VOID]
    return form.format(" or ".join(void)) if void and reading.kind == "indices" else ""


def _values(classes, missing):
    """What stands for the classes that are missing."""
    meaning = classes.label_reading.meaning
    found = [f"{key} = {classes.names[label]}" for key, label in meaning if label in missing]
    return "labels are read as " + classes.label_reading.kind + ", " + ", ".join(found[:5])
