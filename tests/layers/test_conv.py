"""3x3 convolutions: both ways to their kernel's gradient against the sum in plain loops."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from reseg_jax.layers import conv
from tests.support.reference import assert_close

SIZES = [(1, 1), (2, 3), (5, 4), (7, 1)]  # heights that blocks of rows divide, and others


def case(size):
    rng = np.random.default_rng(0)
    shapes = (2, *size, 3), (3, 3, 3, 4), (2, *size, 4)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def windows(x):
    """[B, H, W, C] -> {(a, b): the pixel at (a - 1, b - 1) from each, zeros outside}, float64."""
    height, width = x.shape[1:3]
    x = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    return {(a, b): x[:, a : a + height, b : b + width] for a in range(3) for b in range(3)}


@pytest.mark.parametrize("size", SIZES)
def test_the_sum_over_the_window(size):
    x, kernel, _ = case(size)
    expected = sum(shifted @ kernel[place] for place, shifted in windows(x).items())
    assert_close(conv.convolve(x, kernel), expected, 1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", [conv._by_rows, conv._by_convolution])
def test_both_ways_to_the_gradient_of_the_kernel(size, way):
    x, kernel, dy = case(size)
    expected = np.zeros(kernel.shape)
    for place, shifted in windows(x).items():
        expected[place] = np.einsum("bhwc,bhwf->cf", shifted, dy)
    assert_close(way(jnp.asarray(x), jnp.asarray(dy)), expected, 1e-6)


def test_gradients_of_both_arguments_to_second_order():
    x, kernel, _ = case((5, 4))
    check_grads(conv.convolve, (x, kernel), order=2, modes=["rev"], rtol=1e-2)
