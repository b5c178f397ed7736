"""What scores are read from: every image of a split predicted and compared with its label."""

from collections.abc import Sequence

import numpy as np

import data
from experiments import ensemble_flags, part_flags
from reseg_jax import metrics, overlap, partition_metrics
from reseg_jax.inference import ensemble
from reseg_jax.inference.crf import CRF, refine
from reseg_jax.inference.ensemble import Views
from reseg_jax.labels import likeliest
from reseg_jax.padding import CommonSizes
from reseg_jax.training.progress import Progress


def count(
    networks: ensemble_flags.Networks,
    examples: list[data.Example],
    views: Views,
    parts: part_flags.Parts = part_flags.WHOLE,
    boundary: int | None = None,
    crfs: Sequence[CRF] = (),
) -> tuple[list[list[np.ndarray]], list[partition_metrics.Overlaps | None]]:
    """Confusion matrices, and the overlaps of segments.

    Args:
      networks: to predict with.
      examples: to score.
      views: of each image, or of its parts.
      parts: of each image.
      boundary: the class that separates segments, or None: then no segments are counted.
      crfs: each refines the probabilities of all networks together.

    Returns:
      (lists of the int64 [K + 1, K + 1] confusion matrix of each image: one per group of networks,
      if there are several, then that of all together, then one per CRF; the overlaps of its
      segments, by the last of these).
    """
    config, sizes = networks.config, CommonSizes(networks.exact_padding)
    for example in examples if parts.boxes else ():
        parts.boxes.of(example.name, example.label.shape)  # refused before anything is computed
    progress = Progress("scoring", len(examples))

    def predict(images, padded_size=None):
        groups = networks.groups
        yield ensemble.side_by_side(config, groups, images, views, padded_size=padded_size)

    def compute(examples):
        for example in examples:
            size = sizes.holding(example.label.shape)
            strips = list(parts.strips(predict, example.image[None], size, example.name))
            yield example, np.concatenate(strips, axis=2)[:, 0]

    def compare(computed):
        example, scores = computed
        truth, refined = example.label, (refine(scores[-1], example.image, crf) for crf in crfs)
        labels = [likeliest(each, config.num_classes) for each in (*scores, *refined)]
        matrices = [metrics.confusion_matrix(truth, each, config.num_classes) for each in labels]
        if boundary is None:
            return matrices, None
        return matrices, partition_metrics.label_overlaps(truth, labels[-1], boundary)

    outputs = config.outputs * (len(networks.groups) + 1)
    counted = []
    for found in overlap.overlapped(
        examples,
        lambda example: example,  # it is read already: a broken file ends this before it begins
        compute,
        compare,
        lambda example: 4 * outputs * example.label.size,  # of float32 scores
    ):
        counted.append(found)
        progress.add(1)
    progress.say(f"scored {len(examples)} images, {progress.rate():.2f}/s")
    matrices, overlaps = zip(*counted, strict=True)
    return list(zip(*matrices, strict=True)), list(overlaps)
