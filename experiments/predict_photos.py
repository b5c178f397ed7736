"""An image on its way through predict: read with its label, and its pictures written."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import flags

from data.reading.headers import header_size
from experiments import data_flags
from experiments.predict_files import read_truth
from reseg_jax.drawing import panels
from reseg_jax.errors import UserError
from reseg_jax.files import images
from reseg_jax.inference import memory
from reseg_jax.inference.proposals import Proposals
from reseg_jax.labels import VOID, Classes, LabelReading

_OPACITY = flags.DEFINE_float("opacity", 0.5, "of the overlay's colors", 0, 1)


class Photo(NamedTuple):
    """An image, and what is known of it so far.

    Attributes:
      name: what its predictions are called.
      path: the file.
      image: uint8 [H, W, 3].
      truth: its label uint8 [H, W], or None.
      labels: the prediction, uint8 [H, W].
      unsure: gray levels of the uncertainty, uint8 [H, W], or None.
      error: why it is left out; then there is nothing else.
    """

    name: str
    path: Path
    image: np.ndarray | None = None
    truth: np.ndarray | None = None
    labels: np.ndarray | None = None
    unsure: np.ndarray | None = None
    error: str | None = None

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W); None if it is left out."""
        return None if self.error else self.image.shape[:2]


def bytes_of(item: tuple[str, Path]) -> int:
    """What an image takes from its reading until its pictures are written."""
    try:
        height, width = header_size(item[1])
    except UserError:  # `read` says so in its turn
        return 0
    return memory.PICTURE * height * width


def read(
    item: tuple[str, Path],
    truths: dict[Path, Path] | None,
    reading: LabelReading,
    boxes: Proposals | None,
) -> Photo:
    """The image of this name and path, and its label; its boxes must be in it."""
    exif, truth = data_flags.EXIF.value, None
    try:
        image = images.read_image(item[1], upright=exif != "ignore")
        if boxes:
            boxes.of(item[0], image.shape[:2])
        if truths is not None:
            truth = read_truth(item[1], image.shape[:2], truths, reading, exif)
    except UserError as error:
        return Photo(*item, error=str(error))
    return Photo(*item, image, truth)


def write(photo: Photo, output: Path, classes: Classes) -> tuple[str, bool]:
    """Write the pictures; what to print of them, and whether it is an error."""
    if photo.error:
        return f"error: {photo.error}", True
    start = f"{output / photo.name}_"
    images.write_png(f"{start}labels.png", photo.labels)
    images.write_png(f"{start}color.png", photo.labels, classes.palette)
    overlay = panels.overlay(photo.image, photo.labels, classes, _OPACITY.value)
    images.write_png(f"{start}overlay.png", overlay)
    if photo.truth is not None:
        shown = (photo.name, photo.image, photo.truth, photo.labels)
        panels.write_panels(output, [shown], classes)
    if photo.unsure is not None:
        images.write_png(f"{start}uncertainty.png", photo.unsure)
    return f"{photo.path}: {describe(photo.labels, classes)}", False


def describe(labels: np.ndarray, classes: Classes) -> str:
    """Size, and the classes (or void) with the largest shares."""
    height, width = labels.shape
    shares = np.bincount(labels.ravel()) / labels.size
    largest = [index for index in np.argsort(-shares, kind="stable")[:3] if shares[index] > 0]
    names = dict(enumerate(classes.names)) | {VOID: "void"}
    listed = ", ".join(f"{names[index]} {100 * shares[index]:.0f} %" for index in largest)
    return f"{width}x{height}, {listed}"
