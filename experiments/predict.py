"""Segment images with a trained network.

  python -m experiments.predict --workdir=runs/toy --input=photo.jpg --output=predictions
  python -m experiments.predict --model=camvid --input='frames/*.png' --labels=truth --output=out
  python -m experiments.predict --workdir=runs/camvid --input=frames --output=out --uncertainty
  python -m experiments.predict --workdir=runs/mine --data_dir=mydata --output=out

Writes for each image, at its own size, NAME_labels.png (class indices), NAME_color.png (the same
in color) and NAME_overlay.png (colors and a legend over the photo), in folders as the images are;
with --labels, which are read as in training or by the table of --classes, also
NAME_panels.png (image, truth, prediction, errors); with --uncertainty also NAME_uncertainty.png
(entropy of the probabilities, gray from 0, black, if one class is certain, to 1, white, if all
are alike). If a network that was trained on void predicts it, labels hold 255, and the pictures
show black. An image that cannot be used is reported and left out; the others are done.

--input is an image, a folder with all folders in it, or a pattern, and so is --labels. NAME is the
image's path below the folder, without its suffix: folders in --input are folders in --output. Of
two images that differ only in their suffix, NAME has the suffix.
"""

import collections
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from data.folder import label_rule, pairing, places, survey
from data.folder.table import read_table
from data.reading.layout import Pair
from data.reading.orientation import check_headers
from experiments import cli, data_flags, ensemble_flags
from reseg_jax.drawing import panels
from reseg_jax.errors import UserError
from reseg_jax.files import images
from reseg_jax.files.image_paths import list_images
from reseg_jax.files.label_reading import read_label
from reseg_jax.inference.ensemble import strips, uncertainty
from reseg_jax.inference.memory import DoesNotFit
from reseg_jax.labels import VOID, Classes, LabelReading, likeliest
from reseg_jax.networks.base import NetworkConfig
from reseg_jax.padding import CommonSizes

_INPUT = flags.DEFINE_string("input", None, "image, folder of images or 'pattern' [--images]")
_OUTPUT = flags.DEFINE_string("output", None, "folder for the predictions", required=True)
_OPACITY = flags.DEFINE_float("opacity", 0.5, "of the overlay's colors", 0, 1)
_UNCERTAINTY = flags.DEFINE_bool("uncertainty", False, "draw how unsure the network is, too")
flags.adopt_module_key_flags(data_flags)
flags.adopt_module_key_flags(ensemble_flags)
flags.adopt_module_key_flags(cli)

KINDS = ("labels", "color", "overlay", "panels", "uncertainty")


def main(_):
    output = Path(_OUTPUT.value)
    wanted, wanted_labels, table = named_places()
    top, paths = list_images(wanted, leave_out=[output])
    truths = None
    if wanted_labels:
        found = list_images(wanted_labels, leave_out=[output])
        truths = find_labels(top, paths, *found, data_flags.LABEL_PATTERN.value)
        labels = set(truths.values())
        paths = [path for path in paths if path not in labels]  # both may be in one folder
    inputs = by_name(top, paths)
    refuse_overwriting(output, inputs, truths or {})
    views, networks = ensemble_flags.views(), ensemble_flags.load()
    config, members = networks.config, networks.members
    classes = networks.classes or panels.default_classes(config.num_classes)
    reading = classes.label_reading
    if table and truths:
        reading = read_by(table, sorted(set(truths.values())), reading)
        check_classes(reading, config.num_classes, table)
    exif = data_flags.EXIF.value
    left_out, sizes = 0, CommonSizes(config.exact_padding)
    for name, path in inputs.items():
        try:
            image = images.read_image(path, upright=exif != "ignore")
            truth = None
            if truths is not None:
                truth = read_truth(path, image.shape[:2], truths, reading, exif)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            left_out += 1
            continue
        padded_size = sizes.holding(image.shape[:2])
        parts = strips(config, members, image[None], views, padded_size=padded_size)
        try:
            labels, unsure = zip(*(summary(part[0], config) for part in parts), strict=True)
        except DoesNotFit as error:
            print(f"error: {path}: {error}", file=sys.stderr)
            left_out += 1
            continue
        labels = np.concatenate(labels)
        images.write_png(output / f"{name}_labels.png", labels)
        images.write_png(output / f"{name}_color.png", labels, classes.palette)
        overlay = panels.overlay(image, labels, classes, _OPACITY.value)
        images.write_png(output / f"{name}_overlay.png", overlay)
        if truth is not None:
            panels.write_panels(output, [(name, image, truth, labels)], classes)
        if _UNCERTAINTY.value:
            images.write_png(output / f"{name}_uncertainty.png", np.concatenate(unsure))
        print(f"{path}: {describe(labels, classes)}")
    done = len(inputs) - left_out
    print(f"{done} of {len(inputs)} images segmented, predictions in {output}")
    if left_out:
        raise UserError(f"{left_out} of {len(inputs)} images left out, for the reasons above")


def summary(scores: np.ndarray, config: NetworkConfig) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels of probabilities [h, W, K], and their uncertainty in gray if it is to be drawn."""
    gray = panels.gray(np.asarray(uncertainty(scores))) if _UNCERTAINTY.value else None
    return np.asarray(likeliest(scores, config.num_classes)), gray


def named_places() -> tuple[str, str | None, str | Path | None]:
    """What the flags name: images, their label files or None, the table of classes or None."""
    given = [data_flags.IMAGES.value, data_flags.LABELS.value, data_flags.CLASSES.value]
    if _INPUT.value and given[0]:
        raise UserError("--input and --images name the same: give one of them")
    given[0] = _INPUT.value or given[0]
    if data_flags.DATA_DIR.value and None in given:
        found = places.find(data_flags.DATA_DIR.value, labels=given[1], classes=given[2])
        if found.by_split:
            folders = [found.images / images for images, _ in found.by_split.values()]
            raise UserError(
                f"--data_dir={data_flags.DATA_DIR.value} holds a folder per split: say which by "
                f"--images={folders[-1]}, with --labels if it has label files"
            )
        given = [own or str(place) for own, place in zip(given, found[:3], strict=True)]
    if not given[0]:
        raise UserError("--input: name an image, a folder of images or a pattern")
    return tuple(given)


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


def describe(labels: np.ndarray, classes: Classes) -> str:
    """Size, and the classes (or void) with the largest shares."""
    height, width = labels.shape
    shares = np.bincount(labels.ravel()) / labels.size
    largest = [index for index in np.argsort(-shares, kind="stable")[:3] if shares[index] > 0]
    names = dict(enumerate(classes.names)) | {VOID: "void"}
    listed = ", ".join(f"{names[index]} {100 * shares[index]:.0f} %" for index in largest)
    return f"{width}x{height}, {listed}"


if __name__ == "__main__":
    cli.run(main)
