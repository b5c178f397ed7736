"""What two-class networks must beat: every pixel foreground, or every pixel background.

The first rows of the paper's Tables 1 and 2. Class 1 is the foreground, as the datasets have it.
"""

import numpy as np

from reseg_jax import metrics

READINGS = {  # of `metrics.summarize` and `metrics.foreground_summary`
    "global_accuracy": "accuracy",
    "foreground_iou": "foreground IoU",
    "miou": "two-class mean IoU",
    "accuracy_per_image": "accuracy, mean of the images",
    "foreground_iou_per_image": "foreground IoU, mean of the images",
    "miou_per_image": "two-class mean IoU, mean of the images",
}


def two_class(matrices: list[np.ndarray]) -> dict[str, float | None]:
    """Every reading of the images' confusion matrices [3, 3]."""
    found = metrics.summarize(sum(matrices)) | metrics.foreground_summary(matrices)
    return {name: found[name] for name in READINGS}


def baselines(matrices: list[np.ndarray]) -> dict[str, dict]:
    """The readings of both baselines on the images that gave these matrices."""
    return {
        name: two_class([_constant(matrix, index) for matrix in matrices])
        for name, index in (("all_foreground", 1), ("all_background", 0))
    }


def _constant(matrix, index):
    """The matrix of an image had class `index` been predicted everywhere."""
    constant = np.zeros_like(matrix)
    constant[:, index] = matrix.sum(axis=1)
    return constant


def format_table(rows: dict[str, dict]) -> str:
    """The readings in per cent, a row each, with a column for each of `rows`."""
    width = max(map(len, READINGS.values()))
    lines = [
        " ".join([f"{'reading':<{width}}", *(f"{name.replace('_', ' '):>15}" for name in rows)])
    ]
    for key, reading in READINGS.items():
        values = [found[key] for found in rows.values()]
        cells = ["-" if value is None else f"{100 * value:.2f}" for value in values]
        lines.append(" ".join([f"{reading:<{width}}", *(f"{cell:>15}" for cell in cells)]))
    return "\n".join(lines)
