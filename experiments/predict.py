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
"""

import sys
from pathlib import Path

import numpy as np
from absl import flags

from experiments import cli, ensemble_flags
from reseg_jax.drawing import panels
from reseg_jax.errors import UserError
from reseg_jax.files import images
from reseg_jax.inference.ensemble import probabilities, uncertainty
from reseg_jax.labels import VOID, Classes, likeliest
from reseg_jax.padding import CommonSizes

_INPUT = flags.DEFINE_string("input", None, "image, folder of images or 'pattern'", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "folder for the predictions", required=True)
_LABELS = flags.DEFINE_string("labels", None, "folder of label PNGs named as the images are")
_OPACITY = flags.DEFINE_float("opacity", 0.5, "of the overlay's colors", 0, 1)
_UNCERTAINTY = flags.DEFINE_bool("uncertainty", False, "draw how unsure the network is, too")
flags.adopt_module_key_flags(ensemble_flags)

KINDS = ("labels", "color", "overlay", "panels", "uncertainty")


def main(_):
    inputs = by_name(images.list_images(_INPUT.value))
    truths = by_name(images.list_images(_LABELS.value)) if _LABELS.value else None
    output = Path(_OUTPUT.value)
    refuse_overwriting(output, inputs, truths or {})
    views, networks = ensemble_flags.views(), ensemble_flags.load()
    config, members = networks.config, networks.members
    classes = networks.classes or panels.default_classes(config.num_classes)
    left_out, sizes = 0, CommonSizes(config.exact_padding)
    for name, path in inputs.items():
        try:
            image = images.read_image(path)
            truth = read_truth(path, image, truths, classes) if truths else None
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            left_out += 1
            continue
        padded_size = sizes.holding(image.shape[:2])
        scores = probabilities(config, members, image, views, padded_size=padded_size)
        labels = np.asarray(likeliest(scores, config.num_classes))
        images.write_png(output / f"{name}_labels.png", labels)
        images.write_png(output / f"{name}_color.png", labels, classes.palette)
        overlay = panels.overlay(image, labels, classes, _OPACITY.value)
        images.write_png(output / f"{name}_overlay.png", overlay)
        if truths:
            panels.write_panels(output, [(name, image, truth, labels)], classes)
        if _UNCERTAINTY.value:
            gray = panels.gray(np.asarray(uncertainty(scores)))
            images.write_png(output / f"{name}_uncertainty.png", gray)
        print(f"{path}: {describe(labels, classes)}")
    done = len(inputs) - left_out
    print(f"{done} of {len(inputs)} images segmented, predictions in {output}")
    if left_out:
        raise UserError(f"{left_out} of {len(inputs)} images left out, for the reasons above")


def by_name(paths: list[Path]) -> dict[str, Path]:
    """Paths by file name without suffix, which must tell them apart."""
    named = {}
    for path in paths:
        if path.stem in named:
            raise UserError(f"{named[path.stem]} and {path} have the same name: rename one")
        named[path.stem] = path
    return named


def refuse_overwriting(output: Path, inputs: dict[str, Path], truths: dict[str, Path]) -> None:
    """UserError if a prediction would take the place of an input."""
    ours = {path.resolve() for path in (*inputs.values(), *truths.values())}
    for name in inputs:
        for kind in KINDS:
            if (path := output / f"{name}_{kind}.png").resolve() in ours:
                raise UserError(f"{path} would be overwritten: choose another --output")


def read_truth(path: Path, image: np.ndarray, truths: dict[str, Path], classes: Classes):
    """The label [H, W] of the image at `path`."""
    if path.stem not in truths:
        raise UserError(f"{path} has no label: --labels={_LABELS.value} holds no {path.stem}.png")
    label = images.read_label(truths[path.stem], classes)
    if label.shape != image.shape[:2]:
        sizes = [f"{width}x{height}" for height, width in (label.shape, image.shape[:2])]
        raise UserError(
            f"{truths[path.stem]} is {sizes[0]} pixels and its image {path} {sizes[1]}: "
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
