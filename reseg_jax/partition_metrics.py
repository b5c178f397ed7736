"""Scores of segments: whether pixels that belong together are found together, whatever their class.

A few wrong membrane pixels join two neurons or cells: few pixels for the IoU, another count of
cells. Two sets of segments are compared by how many pixels each pair of them shares:

    V_rand, V_info   the challenge on electron microscopy of ISBI 2012 (Arganda-Carreras et al.
                     2015, "Crowdsourcing the creation of image segmentation algorithms for
                     connectomics")
    SEG              the cell tracking challenge (Maska et al. 2014, "A benchmark for comparison of
                     cell tracking algorithms")

Dimension key: `P` pairs of segments.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from reseg_jax.labels import VOID


class Overlaps(NamedTuple):
    """The pixels that two sets of segments share, a row per pair of segments that meet.

    Attributes:
      truth: int64 [P], the number of the true segment; 0 if there is none.
      predicted: int64 [P], of the predicted one.
      pixels: int64 [P].
    """

    truth: np.ndarray
    predicted: np.ndarray
    pixels: np.ndarray


class Agreement(NamedTuple):
    """A score of two partitions, from 0 to 1.

    Attributes:
      fscore: the harmonic mean of the others.
      split: 1 if no true segment is divided.
      merge: 1 if no predicted segment joins parts of several true ones.
    """

    fscore: float
    split: float
    merge: float


def segments(labels: np.ndarray, boundary: int) -> np.ndarray:
    """What a boundary class separates: the connected parts of everything else.

    Pixels are connected by their sides, so that a line of single pixels separates, diagonals too.

    Args:
      labels: uint8 [H, W], 0..K-1 and `VOID`.
      boundary: number of the class that separates: the membrane, or what lies between cells.

    Returns:
      int32 [H, W]: segments numbered from 1; 0 for the boundary and void.
    """
    return ndimage.label((labels != boundary) & (labels != VOID))[0]


def overlaps(truth: np.ndarray, predicted: np.ndarray) -> Overlaps:
    """Count the pixels of every pair of segments.

    Args:
      truth: [N] or [H, W] numbers from 1, 0 for pixels of no segment.
      predicted: the same, of the same shape.
    """
    width = int(predicted.max(initial=0)) + 1
    pairs = truth.astype(np.int64) * width + predicted
    pairs, pixels = np.unique(pairs, return_counts=True)
    return Overlaps(pairs // width, pairs % width, pixels)


def label_overlaps(truth: np.ndarray, predicted: np.ndarray, boundary: int) -> Overlaps:
    """The overlaps of two label maps' `segments`, without the pixels that have no truth.

    Args:
      truth: uint8 [H, W].
      predicted: uint8 [H, W].
      boundary: as for `segments`.
    """
    labeled = truth != VOID
    return overlaps(*(segments(labels, boundary)[labeled] for labels in (truth, predicted)))


def rand(found: Overlaps) -> Agreement | None:
    """V_rand, restricted to the pixels of true segments.

        split = sum p_ij^2 / sum t_j^2    merge = sum p_ij^2 / sum s_i^2

    of the shares p_ij of pixels in predicted segment i and true segment j, and their sums s_i and
    t_j: whether two random pixels of one true segment are in one predicted segment, and the other
    way round. The F-score is that of alpha = 1/2.

    Returns:
      The score, or None if there is no true segment.
    """
    sizes = _sizes(found)
    if sizes is None:
        return None
    joint, predicted, truth = (float(np.square(each).sum()) for each in sizes)
    return Agreement(2 * joint / (predicted + truth), split=joint / truth, merge=joint / predicted)


def information(found: Overlaps) -> Agreement | None:
    """V_info, restricted to the pixels of true segments.

        split = I(S; T) / H(S)            merge = I(S; T) / H(T)

    of the mutual information and the entropies of predicted segments S and true segments T. What
    has no information is neither split nor merged: 0 / 0 is 1. The F-score is as in `rand`.

    Returns:
      The score, or None if there is no true segment.
    """
    sizes = _sizes(found)
    if sizes is None:
        return None
    joint, predicted, truth = map(_entropy, sizes)
    mutual = max(0.0, predicted + truth - joint)
    mean = (predicted + truth) / 2
    return Agreement(*(mutual / each if each > 0 else 1.0 for each in (mean, predicted, truth)))


def matched_jaccards(found: Overlaps) -> np.ndarray:
    """The Jaccard index of each true segment and its match; SEG is their mean over a data set.

    Segment S matches R if |R and S| > |R| / 2, which one at most does. Without one it is 0.

    Returns:
      float64, one per true segment.
    """
    true_pixels, predicted_pixels = (
        np.bincount(numbers, found.pixels) for numbers in (found.truth, found.predicted)
    )
    matched = (found.predicted > 0) & (2 * found.pixels > true_pixels[found.truth])
    truth, predicted, shared = (each[matched] for each in found)
    jaccards = np.zeros(len(true_pixels))
    jaccards[truth] = shared / (true_pixels[truth] + predicted_pixels[predicted] - shared)
    return jaccards[1:][true_pixels[1:] > 0]


def _sizes(found):
    """Pixels within true segments: per pair, per predicted segment, per true one; None: no pixel.

    A pixel that is predicted as boundary there is a segment of its own.
    """
    inside, whole = found.truth > 0, found.predicted > 0
    if not inside.any():
        return None
    _, predicted, pixels = (each[inside & whole] for each in found)
    alone = np.ones(found.pixels[inside & ~whole].sum())
    per_segment = np.bincount(predicted, pixels)
    per_truth = np.bincount(found.truth[inside], found.pixels[inside])
    return (
        np.append(pixels, alone),
        np.append(per_segment[per_segment > 0], alone),
        per_truth[per_truth > 0],
    )


def _entropy(sizes):
    shares = sizes / sizes.sum()
    return float(-np.sum(shares * np.log(shares)))
