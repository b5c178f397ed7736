"""Segment images with a trained network.

  python -m experiments.predict --workdir=runs/toy --input=photo.jpg --output=predictions
  python -m experiments.predict --model=camvid --input='frames/*.png' --labels=truth --output=out
  python -m experiments.predict --workdir=runs/camvid --input=frames --output=out --uncertainty
  python -m experiments.predict --workdir=runs/mine --data_dir=mydata --output=out
  python -m experiments.predict --model=camvid --input=aerial.png --output=out --tile=512
  python -m experiments.predict --model=camvid --input=frames --output=out --crf

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

import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
from absl import flags

from experiments import (
    cli,
    crf_flags,
    data_flags,
    ensemble_flags,
    part_flags,
    predict_photos,
    predict_places,
)
from experiments.predict_files import (
    by_name,
    check_classes,
    find_labels,
    read_by,
    refuse_overwriting,
)
from experiments.predict_photos import Photo
from reseg_jax import overlap
from reseg_jax.drawing import panels
from reseg_jax.errors import UserError
from reseg_jax.files.image_paths import list_images
from reseg_jax.inference import memory
from reseg_jax.inference.batching import batches, by_memory
from reseg_jax.inference.ensemble import Views, strips, uncertainty
from reseg_jax.labels import likeliest
from reseg_jax.padding import CommonSizes
from reseg_jax.training.progress import Progress

_OUTPUT = flags.DEFINE_string("output", None, "folder for the predictions", required=True)
_UNCERTAINTY = flags.DEFINE_bool("uncertainty", False, "draw how unsure the network is, too")
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", None, "images of one size at a time [1 on a CPU, up to 8 on a GPU]", 1
)
flags.adopt_module_key_flags(data_flags)
flags.adopt_module_key_flags(predict_places)
flags.adopt_module_key_flags(predict_photos)
flags.adopt_module_key_flags(ensemble_flags)
flags.adopt_module_key_flags(part_flags)
flags.adopt_module_key_flags(crf_flags)
flags.adopt_module_key_flags(cli)

_MOST_BYTES = 1 << 30  # of the images under way at a time: our choice


def main(_):
    output = Path(_OUTPUT.value)
    wanted, wanted_labels, table = predict_places.named()
    top, paths = list_images(wanted, leave_out=[output])
    truths = None
    if wanted_labels:
        found = list_images(wanted_labels, leave_out=[output])
        truths = find_labels(top, paths, *found, data_flags.LABEL_PATTERN.value)
        labels = set(truths.values())
        paths = [path for path in paths if path not in labels]  # both may be in one folder
    inputs = by_name(top, paths)
    refuse_overwriting(output, inputs, truths or {})
    views, parts, networks = ensemble_flags.views(), part_flags.load(), ensemble_flags.load()
    num_classes = networks.config.num_classes
    classes = networks.classes or panels.default_classes(num_classes)
    reading = classes.label_reading
    if table and truths:
        reading = read_by(table, sorted(set(truths.values())), reading)
        check_classes(reading, num_classes, table)
    photos = overlap.overlapped(
        inputs.items(),
        functools.partial(predict_photos.read, truths=truths, reading=reading, boxes=parts.boxes),
        functools.partial(segment, networks=networks, views=views, parts=parts),
        functools.partial(predict_photos.write, output=output, classes=classes),
        predict_photos.bytes_of,
        min(_MOST_BYTES, memory.free_memory() / 8),
    )
    left_out, progress = 0, Progress("segmented", len(inputs))
    try:
        for line, is_error in photos:
            progress.clear()
            print(line, file=sys.stderr if is_error else sys.stdout)
            left_out += is_error
            progress.add(1)
    finally:
        progress.clear()
    done = len(inputs) - left_out
    progress.say(f"segmented {done} images, {progress.rate():.2f}/s")
    print(f"{done} of {len(inputs)} images segmented, predictions in {output}")
    if left_out:
        raise UserError(f"{left_out} of {len(inputs)} images left out, for the reasons above")


def segment(
    photos: Iterator[Photo],
    networks: ensemble_flags.Networks,
    views: Views,
    parts: part_flags.Parts,
) -> Iterator[Photo]:
    """The photos with their predictions; those of one size in a row are computed together."""
    sizes = CommonSizes(networks.exact_padding)
    for batch in batches(photos, lambda photo: photo.size, batch_size(views, parts)):
        if batch[0].error:
            yield from batch
            continue
        size = sizes.holding(batch[0].size)
        predicted = functools.partial(
            predict, networks=networks, views=views, parts=parts, padded_size=size
        )
        try:
            yield from predicted(batch)
        except memory.DoesNotFit as error:
            if len(batch) == 1:
                yield Photo(*batch[0][:2], error=f"{batch[0].path}: {error}")
                continue
            for photo in batch:
                yield from predicted([photo])


def predict(
    batch: list[Photo],
    networks: ensemble_flags.Networks,
    views: Views,
    parts: part_flags.Parts,
    padded_size: tuple[int, int] | None,
) -> list[Photo]:
    """Photos of one size with their predictions."""
    config, members = networks.config, networks.members
    stacked = np.stack([photo.image for photo in batch])
    seen = functools.partial(strips, config, members, views=views)
    found = parts.strips(seen, stacked, padded_size, batch[0].name)
    labels, unsure = [], []
    for scores in crf_flags.refined(found, stacked):  # [B, rows, W, K]
        labels.append(likeliest(scores, config.num_classes))
        if _UNCERTAINTY.value:
            unsure.append(panels.gray(uncertainty(scores)))
    labels = np.concatenate(labels, axis=1)
    unsure = np.concatenate(unsure, axis=1) if unsure else [None] * len(batch)
    return [
        photo._replace(labels=labels[index], unsure=unsure[index])
        for index, photo in enumerate(batch)
    ]


def batch_size(views: Views, parts: part_flags.Parts) -> Callable[[tuple[int, int]], int]:
    """How many images of a size are computed together."""
    # What samples drop depends on a batch's shape, not only on the image; boxes are an image's own.
    if views.samples or parts.boxes:
        return lambda size: 1
    if _BATCH_SIZE.value or jax.default_backend() == "cpu":
        return lambda size: _BATCH_SIZE.value or 1
    return by_memory


if __name__ == "__main__":
    cli.run(main)
