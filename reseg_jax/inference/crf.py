"""The fully connected CRF: probabilities made to agree among pixels alike in place and color.

"Efficient inference in fully connected CRFs with Gaussian edge potentials", Krähenbühl and Koltun
2011. A labeling x of the N pixels of an image, at positions p and with colors I, has the energy

    E(x) = sum_i -log P_i(x_i) + sum_{i<j} [x_i != x_j] k_ij
    k_ij = w1 a_ij / sqrt(a_i a_j) + w2 s_ij / sqrt(s_i s_j)
    a_ij = exp(-|p_i - p_j|^2 / 2 sigma_alpha^2 - |I_i - I_j|^2 / 2 sigma_beta^2)    appearance
    s_ij = exp(-|p_i - p_j|^2 / 2 sigma_gamma^2)                                     smoothness

in which a_i = sum_j a_ij over all j, and s_i likewise. The paper writes the kernels without these
norms, which are our choice: with them weights of a few units balance -log P, however many pixels a
kernel reaches, and k stays symmetric, as an energy needs. Mean field begins at Q = P and repeats,
for all pixels at once (algorithm 1; of Potts' penalties, what all labels share drops out),

    Q_i(l)  proportional to  P_i(l) exp(sum_{j != i} k_ij Q_j(l))

Dimension key: `H W` image axes, `N` = H W pixels, `K` outputs: classes, and void if it is trained.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import scipy.special
from scipy import sparse

from reseg_jax.errors import UserError
from reseg_jax.inference import lattice, memory
from reseg_jax.inputs import check_images

_LEAST = np.finfo(np.float32).tiny  # in place of a probability of 0, whose logarithm is infinite

_REACH = 4  # standard deviations after which the smoothness kernel is cut: it is 3e-4 there

_PER_PIXEL, _PER_OUTPUT = 1600, 55
# Bytes, measured at 480x360 on noise, where hardly two pixels share a vertex: 1700 per pixel with 2
# outputs, 1940 with 11, 3730 with 40. A frame of CamVid takes 680 with 2 and with 11.


@dataclasses.dataclass(frozen=True, kw_only=True)
class CRF:
    """The parameters, named as in DeepLab (Chen et al. 2018).

    DeepLab fixes w2, sigma_gamma and the steps at these values, and searches the others on
    validation images in the ranges given below, as `experiments.tune_crf` does. Of their ends and
    middles it found these best for the packaged head on CamVid (docs/camvid.md).

    Attributes:
      w1: weight of the appearance kernel, 3 to 6.
      sigma_alpha: its reach in pixels, 30 to 100.
      sigma_beta: its reach in color, of levels 0 to 255, 3 to 6.
      w2: weight of the smoothness kernel.
      sigma_gamma: its reach in pixels.
      steps: of mean field.
    """

    w1: float = 3.0
    sigma_alpha: float = 30.0
    sigma_beta: float = 3.0
    w2: float = 3.0
    sigma_gamma: float = 3.0
    steps: int = 10

    def __post_init__(self):
        for name in ("sigma_alpha", "sigma_beta", "sigma_gamma"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"{name}={getattr(self, name)}: give a reach above 0")
        for name in ("w1", "w2"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UserError(f"{name}={getattr(self, name)}: give a weight from 0")
        if self.steps < 0:
            raise UserError(f"steps={self.steps}: give a number of steps, or 0 for none")


def refine(probabilities: np.ndarray, image: np.ndarray, crf: CRF = CRF()) -> np.ndarray:
    """The mean-field probabilities of the CRF of an image.

    Args:
      probabilities: [H, W, K] of a network, any K.
      image: [H, W, 3] RGB, 0..255.
      crf: the parameters.

    Returns:
      float32 [H, W, K]; `reseg_jax.labels.likeliest` makes labels of it.

    Raises:
      UserError: the two are not of one image, or the image does not fit into the free memory.
    """
    image, probabilities = np.asarray(image), np.asarray(probabilities, np.float32)
    check_images(image[None], single=False)
    if probabilities.ndim != 3 or probabilities.shape[:2] != image.shape[:2]:
        raise UserError(
            f"probabilities have shape {probabilities.shape} and the image {image.shape}: give "
            "[height, width, classes] of the image"
        )
    check_fits(probabilities.shape)
    kernels = (
        (np.float32(crf.w1), appearance(image, crf)),
        (np.float32(crf.w2), smoothness(image.shape[:2], crf)),
    )
    scores = np.log(np.maximum(probabilities, _LEAST)).reshape(-1, probabilities.shape[-1])
    found = probabilities.reshape(scores.shape)
    for _ in range(crf.steps):
        found = scipy.special.softmax(
            scores + sum(w * kernel(found) for w, kernel in kernels), axis=-1
        )
    return found.reshape(probabilities.shape)


def appearance(image: np.ndarray, crf: CRF) -> Callable[[np.ndarray], np.ndarray]:
    """[N, K] -> [N, K]: Q -> sum_{j != i} of the normalized appearance kernel, by the lattice."""
    places = np.indices(image.shape[:2]).reshape(2, -1).T
    colors = image.reshape(-1, 3)
    points = np.hstack([places / crf.sigma_alpha, colors / crf.sigma_beta])
    filters = lattice.build(points)
    return _normalized(filters.filter, filters.own[:, None])


def smoothness(size: tuple[int, int], crf: CRF) -> Callable[[np.ndarray], np.ndarray]:
    """[N, K] -> [N, K]: the same of the smoothness kernel, which is a product of two lines'."""
    height, width = size
    down, across = (_gaussian(length, crf.sigma_gamma) for length in size)

    def kernel(values):
        channels = values.shape[-1]
        values = (down @ values.reshape(height, -1)).reshape(height, width, channels)
        turned = values.swapaxes(0, 1).reshape(width, -1)
        values = (across @ turned).reshape(width, height, channels)
        return values.swapaxes(0, 1).reshape(-1, channels)

    return _normalized(kernel, np.ones((height * width, 1), np.float32))


def check_fits(shape: tuple[int, int, int]) -> None:
    """Checks that probabilities of a shape [H, W, K] can be refined.

    Raises:
      DoesNotFit: they need more memory than is free.
    """
    pixels, outputs = shape[0] * shape[1], shape[2]
    needed, free = pixels * (_PER_PIXEL + _PER_OUTPUT * outputs), memory.free_memory()
    if needed > free:
        raise memory.DoesNotFit(
            f"a dense CRF of {shape[1]}x{shape[0]} pixels and {outputs} classes needs about "
            f"{needed / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free: make the image "
            "smaller, or leave the CRF out"
        )


def _normalized(kernel, own):
    """Q -> D^-1/2 K D^-1/2 Q without the diagonal, which Potts' penalties leave out.

    Args:
      kernel: [N, K] -> [N, K].
      own: its diagonal, [N, 1].
    """
    norms = kernel(np.ones_like(own))
    scale = 1 / np.sqrt(norms)
    diagonal = np.minimum(own, norms) * scale**2  # what comes from all pixels has its own in it
    return lambda found: scale * kernel(scale * found) - diagonal * found


def _gaussian(length, sigma):
    """[length, length]: exp(-(a - b)^2 / 2 sigma^2), float32, cut far from the diagonal."""
    reach = min(length - 1, math.ceil(_REACH * sigma))
    offsets = np.arange(-reach, reach + 1)
    bands = np.exp(-0.5 * (offsets / sigma) ** 2).astype(np.float32)
    return sparse.diags_array(bands[:, None], offsets=offsets, shape=(length, length)).tocsr()
