"""Class weights from how often classes occur in training (paper section 5).

Dimension key: `K` classes.
"""

from collections.abc import Iterable

import numpy as np

from reseg_jax.labels import VOID


def median_frequency(labels: Iterable[np.ndarray], num_classes: int) -> np.ndarray:
    """Class weights w = median(f) / f (paper section 5, after Eigen and Fergus 2015). [K] float32.

    f_c is the share of class c among all pixels, void included, of the images that contain it. A
    class that no image contains gets weight 0: nothing is ever multiplied by it.
    """
    return _median_weights(labels, num_classes, of_its_images=True)


def root_median_frequency(labels: Iterable[np.ndarray], num_classes: int) -> np.ndarray:
    """The square roots of `median_frequency`: rare classes count for more, but less so.

    Not in the paper.
    """
    return np.sqrt(median_frequency(labels, num_classes))


def median_share(labels: Iterable[np.ndarray], num_classes: int) -> np.ndarray:
    """As `median_frequency`, but f_c is the share among the labeled pixels of all images."""
    return _median_weights(labels, num_classes, of_its_images=False)


def _median_weights(labels, num_classes, of_its_images):
    pixels = np.zeros(num_classes)
    pixels_of_images = np.zeros(num_classes)
    for label in labels:
        counts = np.bincount(label[label != VOID].ravel(), minlength=num_classes)
        pixels += counts
        pixels_of_images += np.where(counts > 0, label.size, 0) if of_its_images else counts.sum()
    present = pixels > 0
    frequency = pixels[present] / pixels_of_images[present]
    weights = np.zeros(num_classes, np.float32)
    weights[present] = np.median(frequency) / frequency
    return weights


BALANCES = {
    "median_frequency": median_frequency,
    "median_share": median_share,
    "root_median_frequency": root_median_frequency,
}
"""Ways to weight the classes, by name: (labels, num_classes) -> [K] float32."""
