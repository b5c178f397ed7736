"""The dense CRF by its definition: every pair of pixels, NumPy float64.

As in `tests.support.reference`, nothing is shared with `reseg_jax` but the names of the parameters.
"""

import itertools

import numpy as np


def kernel(image, crf):
    """[N, N]: k_ij, the sum of both normalized Gaussians, 0 on the diagonal."""
    height, width, _ = image.shape
    pixels = list(itertools.product(range(height), range(width)))
    places = np.array(pixels, np.float64)
    colors = np.array([image[pixel] for pixel in pixels], np.float64)

    def apart(values):
        return ((values[:, None] - values[None]) ** 2).sum(axis=-1)

    near = apart(places) / (2 * crf.sigma_alpha**2)
    alike = apart(colors) / (2 * crf.sigma_beta**2)
    total = np.zeros((len(pixels), len(pixels)))
    for weight, gaussian in (
        (crf.w1, np.exp(-near - alike)),
        (crf.w2, np.exp(-apart(places) / (2 * crf.sigma_gamma**2))),
    ):
        norms = gaussian.sum(axis=1)
        total += weight * gaussian / np.sqrt(np.outer(norms, norms))
    np.fill_diagonal(total, 0)
    return total


def mean_field(probabilities, image, crf):
    """[H, W, K] -> [H, W, K]: every pixel from all others', `crf.steps` times."""
    probabilities = np.asarray(probabilities, np.float64)
    given = probabilities.reshape(-1, probabilities.shape[-1])
    pairs, found = kernel(image, crf), given
    for _ in range(crf.steps):
        # Potts: a label is penalized by the mass that other pixels give to the other labels.
        penalty = pairs @ (1 - found)
        found = given * np.exp(-penalty)
        found /= found.sum(axis=1, keepdims=True)
    return found.reshape(probabilities.shape)


def energy(labels, probabilities, image, crf):
    """E(x) of labels [H, W]."""
    labels = labels.ravel()
    given = np.asarray(probabilities, np.float64).reshape(len(labels), -1)
    unary = -np.log(given[np.arange(len(labels)), labels]).sum()
    unlike = labels[:, None] != labels[None]
    return unary + (kernel(image, crf) * unlike).sum() / 2
