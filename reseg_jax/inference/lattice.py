"""The permutohedral lattice: about a Gaussian filter, among points of any dimension.

    out_i = sum_j exp(-|f_i - f_j|^2 / 2) values_j    times a constant

"Fast high-dimensional filtering using the permutohedral lattice", Adams, Baek and Davis 2010:
values are splatted onto the corners of the simplex around each point, blurred along the d + 1
directions of the lattice, and sliced at the points again. All three are sparse matrices here, made
once for the points.

The lattice is the integers Z^(d+1) seen along the diagonal (1, ..., 1): any two that differ by it
are one vertex. So the simplex around a point is found by rounding: all d + 1 coordinates down, then
one by one up, the largest fraction first.

Dimension key: `N` points, `d` dimensions, `V` vertices that have points around them, `K` channels.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg
from scipy import sparse

_SCALE = np.sqrt(2 / 3)
# Steps of the lattice in a standard deviation: the blur's variance is 1/2 of a step, and splatting
# and slicing, which round all coordinates, add 1/12 each.

_BLUR = (1 / 4, 1 / 2, 1 / 4)  # Adams et al. 2010


class Lattice(NamedTuple):
    """A filter for given points.

    Attributes:
      splatting: [V, N], the weights of each point's corners.
      blurs: [V, V] each, one per direction.
      slicing: [N, V], the same weights.
      own: float32 [N], how much of its own value a point gets back.
    """

    splatting: sparse.csr_array
    blurs: tuple[sparse.csr_array, ...]
    slicing: sparse.csr_array
    own: np.ndarray

    def filter(self, values: np.ndarray) -> np.ndarray:
        """[N, K] -> [N, K]: of each point, the sum over all points (equation at the top)."""
        values = self.splatting @ values
        for blur in self.blurs:
            values = blur @ values
        return self.slicing @ values


def build(points: np.ndarray) -> Lattice:
    """The filter for points [N, d], in units of the Gaussian's standard deviation."""
    size = points.shape[1] + 1
    # Helmert's rows are orthonormal and orthogonal to the diagonal.
    embedded = points @ (_SCALE * scipy.linalg.helmert(size))
    corner = np.floor(embedded)
    fraction = embedded - corner
    order = np.argsort(-fraction, axis=1)
    falling = np.take_along_axis(fraction, order, axis=1)
    # Corner k is rounded up in the k largest fractions; its weight is the drop between two of them.
    weights = -np.diff(falling, axis=1, prepend=1 + falling[:, -1:]).astype(np.float32)

    # A vertex's key is a linear function of its integers, 0 on the diagonal, modulo 2^64: that of a
    # neighbor is a sum, and that any two of a million vertices agree has a chance below 1e-6.
    steps = np.random.default_rng(0).integers(-(1 << 62), 1 << 62, size)
    steps[-1] = -steps[:-1].sum()
    first = corner.astype(np.int64) @ steps
    later = first[:, None] + np.cumsum(steps[order[:, :-1]], axis=1)
    keys, index = np.unique(np.column_stack([first, later]), return_inverse=True)

    rows = np.arange(0, weights.size + 1, size)
    shape = len(points), len(keys)
    slicing = sparse.csr_array((weights.ravel(), index.ravel(), rows), shape=shape)
    blurs = tuple(_blur(keys, step) for step in steps)
    own = ((weights @ _responses(size)) * weights).sum(axis=1)
    return Lattice(slicing.T.tocsr(), blurs, slicing, own)


def _blur(keys, step):
    """[V, V]: the blur along a direction; a neighbor that is no vertex holds 0."""
    place = np.searchsorted(keys, keys + step)
    place[place == len(keys)] = 0
    here = np.flatnonzero(keys[place] == keys + step)
    side = np.full(len(here), _BLUR[0], np.float32)
    forward = sparse.csr_array((side, (here, place[here])), shape=(len(keys), len(keys)))
    middle = sparse.eye_array(len(keys), dtype=np.float32, format="csr")
    return _BLUR[1] * middle + forward + forward.T


def _responses(size):
    """[d+1, d+1]: what the blurs carry from corner to corner, if every neighbor is a vertex.

    Corners that are k apart differ by a step in k directions, or by one back in all others.
    """
    apart = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    side, middle, _ = _BLUR
    there = side**apart * middle ** (size - apart)
    back = middle**apart * side ** (size - apart)
    return (there + back * np.where(apart == 0, 2, 1)).astype(np.float32)
