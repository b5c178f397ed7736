"""Scores of a segmentation: one integer confusion matrix, and everything read from it.

Dimension key: `K` classes. A matrix is int64 [K + 1, K + 1]: rows are truth, columns predictions,
the last of both void (which a network predicts only if it was trained to). The matrices of images
add up to the matrix of a split; scores are those of the split, never means over batches.
"""

import numpy as np

from reseg_jax.labels import VOID, Classes


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Count (truth, prediction) pairs.

    Args:
      labels: integers 0..K-1 or `VOID`, any shape.
      predictions: the same, of the same shape.
      num_classes: K.

    Returns:
      int64 [K + 1, K + 1].
    """
    size = num_classes + 1
    truth, predicted = (
        np.where(values == VOID, num_classes, values).astype(np.int64).ravel()
        for values in (labels, predictions)
    )
    return np.bincount(truth * size + predicted, minlength=size**2).reshape(size, size)


def summarize(matrix: np.ndarray) -> dict:
    """Scores of a confusion matrix, as plain numbers (shares from 0 to 1) ready for JSON.

    Void predicted on a labeled pixel is an error of the pixel's class. A class in neither truth
    nor prediction has no score: None, listed in `absent` and left out of the means; a class without
    truth has no accuracy.

    Args:
      matrix: int64 [K + 1, K + 1] of `confusion_matrix`.

    Returns:
      A dict with, per class, lists of K numbers:
        global_accuracy: right pixels / labeled pixels.
        accuracy, mean_class_accuracy: TP / (TP + FN) per class, and their mean.
        iou, miou: TP / (TP + FP + FN) with void pixels left out, the usual convention.
        dice, mean_dice: 2 TP / (2 TP + FP + FN), void pixels left out.
        iou_void_counted, miou_void_counted: those of the released code, in which a void pixel
          predicted as class c is a false positive of c. Never above `iou`.
        absent: numbers of the classes without a score.
        pixels: how many are labeled.
    """
    labeled = matrix[:-1]
    right, truth = np.diag(labeled), labeled.sum(axis=1)
    predicted, over_void = labeled.sum(axis=0)[:-1], matrix[-1, :-1]
    union = truth + predicted - right
    accuracy = _ratio(right, truth)
    # Whether a class is absent is decided on labeled pixels, so that both conventions
    # average over the same classes.
    iou = _ratio(right, union)
    strict = np.where(union > 0, _ratio(right, union + over_void), np.nan)
    return {
        "miou": _mean(iou),
        "global_accuracy": _number(_ratio(right.sum(), truth.sum())),
        "mean_class_accuracy": _mean(accuracy),
        "miou_void_counted": _mean(strict),
        "mean_dice": _mean(_dice(iou)),
        "iou": [_number(value) for value in iou],
        "accuracy": [_number(value) for value in accuracy],
        "iou_void_counted": [_number(value) for value in strict],
        "dice": [_number(value) for value in _dice(iou)],
        "absent": np.flatnonzero(union == 0).tolist(),
        "pixels": int(truth.sum()),
    }


def foreground_summary(matrices: list[np.ndarray]) -> dict:
    """Two-class scores under each reading that papers use (class 1 is the foreground).

    Foreground IoU and two-class mean IoU, each pooled over all pixels and as the mean of the
    images' own scores: the paper's Table 1 mixes them. An image without foreground in truth
    and prediction has no foreground IoU and is left out of that mean.

    Args:
      matrices: int64 [3, 3] of each image.

    Returns:
      {"foreground_iou", "foreground_iou_per_image", "miou_per_image", "accuracy_per_image"}:
      shares from 0 to 1, or None.
    """
    pooled = summarize(sum(matrices))
    images = [summarize(matrix) for matrix in matrices]
    return {
        "foreground_iou": pooled["iou"][1],
        "foreground_iou_per_image": _mean([_nan(image["iou"][1]) for image in images]),
        "miou_per_image": _mean([_nan(image["miou"]) for image in images]),
        "accuracy_per_image": _mean([_nan(image["global_accuracy"]) for image in images]),
    }


def percent(share: float | None, digits: int) -> str:
    """A score as people read it.

    Args:
      share: from 0 to 1, or None if there is no score.
      digits: after the point.

    Returns:
      The share in percent, without the sign, or a dash.
    """
    return "-" if share is None else f"{100 * share:.{digits}f}"


def format_table(summary: dict, classes: Classes) -> str:
    """The summary as an aligned text table in percent.

    Args:
      summary: of `summarize`.
      classes: their names.

    Returns:
      One row per class, the means last.
    """
    width = max(len(name) for name in (*classes.names, "mean"))
    lines = [f"{'class':<{width}}  accuracy     IoU    Dice  IoU, void counted"]

    def row(name, *shares):
        accuracy, iou, dice, strict = (percent(share, 1) for share in shares)
        lines.append(f"{name:<{width}}  {accuracy:>8}  {iou:>6}  {dice:>6}  {strict:>17}")

    # Not read from `summary`: those in the histories of older runs have no Dice.
    dice = _dice(np.array([_nan(value) for value in summary["iou"]]))
    accuracy, iou, strict = (summary[key] for key in ("accuracy", "iou", "iou_void_counted"))
    for name, *values in zip(classes.names, accuracy, iou, map(_number, dice), strict, strict=True):
        row(name, *values)
    means = ("mean_class_accuracy", "miou", "miou_void_counted")
    accuracy, iou, strict = (summary[key] for key in means)
    row("mean", accuracy, iou, _mean(dice), strict)
    lines.append(f"global accuracy {percent(summary['global_accuracy'], 1)}")
    if summary["absent"]:
        names = ", ".join(classes.names[index] for index in summary["absent"])
        lines.append(f"in neither truth nor prediction, left out of the means: {names}")
    return "\n".join(lines)


def _ratio(part, whole):
    """part / whole, NaN if whole is 0."""
    whole = np.asarray(whole)
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _dice(iou):
    """2 TP / (2 TP + FP + FN) of TP / (TP + FP + FN)."""
    return 2 * iou / (1 + iou)


def _mean(values):
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else None


def _number(value):
    return None if np.isnan(value) else float(value)


def _nan(value):
    return np.nan if value is None else value
