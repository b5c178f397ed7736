"""What two-class networks must beat: every pixel foreground, or every pixel background.

These are the first rows of the paper's Tables 1 and 2. Class 1 is the foreground, as in the
datasets.
"""

import numpy as np

from reseg_jax import metrics

READINGS = {
    "global_accuracy": "accuracy",
    "foreground_iou": "foreground IoU",
    "miou": "two-class mean IoU",
    "accuracy_per_image": "accuracy, mean of the images",
    "foreground_iou_per_image": "foreground IoU, mean of the images",
    "miou_per_image": "two-class mean IoU, mean of the images",
}
"""Score of `metrics.summarize` or `metrics.foreground_summary` -> its name in the table."""


def two_class(matrices: list[np.ndarray]) -> dict[str, float | None]:
    """The scores that `READINGS` names.

    Args:
      matrices: int64 [3, 3] of each image.

    Returns:
      {name: share, or None if there is no such score}.
    """
    found = metrics.summarize(sum(matrices)) | metrics.foreground_summary(matrices)
    return {name: found[name] for name in READINGS}


def baselines(matrices: list[np.ndarray]) -> dict[str, dict]:
    """The scores of both baselines on the images that gave these matrices.

    Args:
      matrices: int64 [3, 3] of each image.

    Returns:
      {"all_foreground": of `two_class`, "all_background": of `two_class`}.
    """
    return {
        name: two_class([_constant(matrix, index) for matrix in matrices])
        for name, index in (("all_foreground", 1), ("all_background", 0))
    }


def _constant(matrix, index):
    """The matrix of an image if class `index` were predicted everywhere."""
    constant = np.zeros_like(matrix)
    constant[:, index] = matrix.sum(axis=1)
    return constant


def format_table(rows: dict[str, dict]) -> str:
    """The scores in percent as an aligned text table.

    Args:
      rows: {title of a column: scores of `two_class`}.

    Returns:
      One line per reading.
    """
    width = max(map(len, READINGS.values()))
    lines = [
        " ".join([f"{'reading':<{width}}", *(f"{name.replace('_', ' '):>15}" for name in rows)])
    ]
    for key, reading in READINGS.items():
        cells = [metrics.percent(scores[key], 2) for scores in rows.values()]
        lines.append(" ".join([f"{reading:<{width}}", *(f"{cell:>15}" for cell in cells)]))
    return "\n".join(lines)
