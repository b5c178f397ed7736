"""Pyramid pooling: its bins in plain loops, and what is constant stays so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax.layers.pyramid import PyramidPooling, average_bins, averaging_matrix
from tests.support.reference import assert_close


def by_loops(x, bins):
    """As PyTorch documents it: from floor(i n / b) up to ceil((i + 1) n / b)."""
    batch, height, width, channels = x.shape
    out = np.zeros((batch, bins, bins, channels))
    for i in range(bins):
        for j in range(bins):
            top, left = (int(np.floor(k * n / bins)) for k, n in ((i, height), (j, width)))
            under, right = (int(np.ceil((k + 1) * n / bins)) for k, n in ((i, height), (j, width)))
            out[:, i, j] = x[:, top:under, left:right].astype(np.float64).mean(axis=(1, 2))
    return out


@pytest.mark.parametrize("size", [(45, 60), (6, 7), (3, 5), (1, 1)])
@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_averages_equal_the_loops(size, bins):
    """Sizes that the bins do not divide, and fewer cells than bins."""
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    assert_close(average_bins(jnp.asarray(x), bins), by_loops(x, bins), 1e-5)


def test_matrices_by_hand():
    assert averaging_matrix(4, 2).tolist() == [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]
    third = np.float32(1 / 3)
    assert averaging_matrix(5, 2).tolist() == [[third] * 3 + [0, 0], [0, 0] + [third] * 3]
    assert averaging_matrix(2, 3).tolist() == [[1, 0], [0.5, 0.5], [0, 1]]


def test_what_is_constant_has_a_constant_pyramid(key):
    """And each level is its own numbers."""
    layer = PyramidPooling((1, 2, 3, 6), 2)
    x = jnp.full((1, 7, 10, 3), 1.5)
    variables = layer.init(key, x, train=False)
    found = np.asarray(layer.apply(variables, x, train=False))
    assert found.shape == (1, 7, 10, 3 + 4 * 2)
    assert_close(found, np.broadcast_to(found[:, :1, :1], found.shape), 1e-6)
    np.testing.assert_array_equal(found[..., :3], 1.5)
    kernels = [variables["params"][f"bins_{bins}"]["conv"]["kernel"] for bins in (1, 2, 3, 6)]
    expected = [np.maximum(1.5 * kernel[0, 0].sum(axis=0), 0) for kernel in kernels]
    assert_close(found[0, 0, 0, 3:], np.concatenate(expected), 1e-4)  # by epsilon of the variance


def test_averages_are_linear_and_keep_the_mean_if_bins_divide(key):
    x, y = jax.random.normal(key, (2, 1, 12, 18, 2))
    both = average_bins(x - 2 * y, 6)
    assert_close(both, average_bins(x, 6) - 2 * average_bins(y, 6), 1e-5)
    assert_close(average_bins(x, 6).mean(axis=(1, 2)), x.mean(axis=(1, 2)), 1e-5)


def test_a_level_is_interpolated_between_the_middles_of_its_bins(key):
    """Two bins of three columns, 0 and 6: 0 to their middles, and a line between them."""
    layer = PyramidPooling((2,), 1)
    x = jnp.tile(jnp.repeat(jnp.asarray([0.0, 6.0]), 3)[None, None, :, None], (1, 6, 1, 1))
    variables = layer.init(key, x, train=False)
    variables["params"]["bins_2"]["conv"]["kernel"] = jnp.ones((1, 1, 1, 1))
    found = layer.apply(variables, x, train=False)[0, 0, :, 1]
    assert_close(found, np.array([0, 0, 2, 4, 6, 6]), 1e-4)


def test_it_is_rounded_in_its_projections_only(key):
    x = jax.random.normal(key, (1, 6, 7, 8))
    variables = PyramidPooling((1, 3), 4).init(key, x, train=False)
    found, exact = (
        PyramidPooling((1, 3), 4, dtype).apply(variables, x, train=False)
        for dtype in ("bfloat16", None)
    )
    assert (found.dtype, exact.dtype) == (jnp.bfloat16, jnp.float32)
    assert np.abs(np.float32(found) - exact).max() < 2**-6 * np.abs(exact).max()
