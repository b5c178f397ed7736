"""Segment images with a trained network.

  python -m experiments.predict --workdir=runs/toy --input=photo.jpg --output=predictions
  python -m experiments.predict --model=camvid --input='frames/*.png' --labels=truth --output=out
  python -m experiments.predict --workdir=runs/camvid --input=frames --output=out --uncertainty

Writes for each image, at its own size, NAME_labels.png (class indices), NAME_color.png (the same
in color) and NAME_overlay.png (colors and a legend over the photo); with --labels also
NAME_panels.png (image, truth, prediction, errors); with --uncertainty also NAME_uncertainty.png
(entropy of the probabilities, gray from 0, black, if one class is certain, to 1, white, if all
are alike). If a network that was trained on void predicts it, labels hold 255, and the pictures
show black. An image that cannot be used is reported and left out; the others are done.

--input is an image, a folder with all folders in it, or a pattern, and so is --labels. NAME is the
image's path below the folder, without its suffix: folders in --input are folders in --output. Of
two images that differ only in their suffix, NAME has the suffix.
"""

import sys
from pathlib import Path

import numpy as np
from absl import flags

from experiments import cli, ensemble_flags, input_files
from reseg_jax.drawing import panels
from reseg_jax.errors import UserError
from reseg_jax.files import image_paths, images
from reseg_jax.inference.ensemble import strips, uncertainty
from reseg_jax.inference.memory import DoesNotFit
from reseg_jax.labels import VOID, Classes, likeliest
from reseg_jax.networks.base import NetworkConfig
from reseg_jax.padding import CommonSizes

_INPUT = flags.DEFINE_string("input", None, "image, folder of images or 'pattern'", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "folder for the predictions", required=True)
_LABELS = flags.DEFINE_string("labels", None, "folder of label PNGs named as the images are")
_OPACITY = flags.DEFINE_float("opacity", 0.5, "of the overlay's colors", 0, 1)
_UNCERTAINTY = flags.DEFINE_bool("uncertainty", False, "draw how unsure the network is, too")
flags.adopt_module_key_flags(ensemble_flags)
flags.adopt_module_key_flags(cli)

KINDS = ("labels", "color", "overlay", "panels", "uncertainty")


def main(_):
    output = Path(_OUTPUT.value)
    found, root = image_paths.list_images(_INPUT.value), image_paths.root_of(_INPUT.value)
    inputs = input_files.by_name(input_files.without_predictions(found, root, output), root)
    truths = {}
    if _LABELS.value:
        truths = input_files.find_labels(inputs.values(), root, _LABELS.value)
    refuse_overwriting(output, inputs, truths)
    views, networks = ensemble_flags.views(), ensemble_flags.load()
    config, members = networks.config, networks.members
    classes = networks.classes or panels.default_classes(config.num_classes)
    left_out, sizes = 0, CommonSizes(config.exact_padding)
    for name, path in inputs.items():
        try:
            image = images.read_image(path)
            truth = read_truth(path, image, truths, classes) if _LABELS.value else None
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
        if _LABELS.value:
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


def refuse_overwriting(output: Path, inputs: dict[str, Path], truths: dict[Path, Path]) -> None:
    """UserError if a prediction would take the place of an input."""
    ours = {path.resolve() for path in (*inputs.values(), *truths.values())}
    for name in inputs:
        for kind in KINDS:
            if (path := output / f"{name}_{kind}.png").resolve() in ours:
                raise UserError(f"{path} would be overwritten: choose another --output")


def read_truth(path: Path, image: np.ndarray, truths: dict[Path, Path], classes: Classes):
    """The label [H, W] of the image at `path`."""
    if path not in truths:
        raise UserError(f"{path} has no label: --labels={_LABELS.value} holds no {path.stem}.png")
    label = images.read_label(truths[path], classes)
    if label.shape != image.shape[:2]:
        sizes = [f"{width}x{height}" for height, width in (label.shape, image.shape[:2])]
        raise UserError(
            f"{truths[path]} is {sizes[0]} pixels and its image {path} {sizes[1]}: "
            "give a label of the image's size"
        )
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
