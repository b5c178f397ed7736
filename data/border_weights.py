"""U-Net's weights of pixels: what lies between two cells that nearly touch counts for more.

Paper: Ronneberger, Fischer and Brox, "U-Net: convolutional networks for biomedical image
segmentation", MICCAI 2015, section 3, equation 2:

    w(x) = w_c(x) + w_0 exp(-(d_1(x) + d_2(x))^2 / (2 sigma^2))

with w_c the weight of the pixel's class and d_1, d_2 the distances to the nearest and the second
nearest cell. The second term is computed here; `reseg_jax.training.losses` adds it to the first.
"""

import numpy as np
from scipy import ndimage

from reseg_jax.partition_metrics import segments

BACKGROUND = 0
"""The class between cells; all connected pixels of other classes are a cell."""

SIGMA = 5.0  # pixels, the paper's
# At 6 sigma the term is exp(-18), 2e-8: less than float32 resolves beside a weight of 1.
_REACH = round(6 * SIGMA)


def border_weights(label: np.ndarray, peak: float) -> np.ndarray:
    """The second term of equation 2, 0 if there are no two cells nearby.

    Args:
      label: uint8 [H, W], 0..K-1 and `VOID`; class 0 is the background.
      peak: w_0, 10 in the paper.

    Returns:
      float32 [H, W], 0 to `peak`.
    """
    cells = segments(label, BACKGROUND)
    nearest = np.full((2, *label.shape), np.inf)
    for number, box in enumerate(ndimage.find_objects(cells), 1):
        window = tuple(slice(max(0, side.start - _REACH), side.stop + _REACH) for side in box)
        first, second = nearest[:, *window]  # views
        distance = ndimage.distance_transform_edt(cells[window] != number)
        np.minimum(second, np.maximum(first, distance), out=second)
        np.minimum(first, distance, out=first)
    closeness = np.exp(-(nearest.sum(axis=0) ** 2) / (2 * SIGMA**2))
    return (peak * closeness).astype(np.float32)
