"""Convolutions, and both ways to the gradient of a 3x3 kernel, against sums in plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from reseg_jax.layers import conv
from tests.support import reference_layers
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


@pytest.mark.parametrize(
    ("kernel_size", "padding", "dilation"),
    [
        ((3, 3), "SAME", 1),
        ((3, 3), "VALID", 1),
        ((3, 3), "SAME", 2),
        ((3, 3), "VALID", 2),
        ((1, 1), "SAME", 1),
        ((1, 1), "VALID", 3),
        ((7, 7), "VALID", 1),
        ((7, 7), "SAME", 1),
        ((1, 5), "SAME", 2),
    ],
)
def test_layer_equals_the_loops(kernel_size, padding, dilation, key):
    x = np.random.default_rng(0).normal(size=(2, 8, 9, 3)).astype(np.float32)
    layer = conv.Convolution(4, kernel_size, padding, dilation)
    params = layer.init(key, x)["params"]
    assert jax.tree.map(jnp.shape, params) == {"kernel": (*kernel_size, 3, 4), "bias": (4,)}
    assert (params["bias"] == 0).all()
    params["bias"] = np.arange(4, dtype=np.float32)
    expected = reference_layers.convolution(x, params["kernel"], padding, dilation)
    assert_close(layer.apply({"params": params}, x), expected + np.arange(4), 1e-6)


def test_layer_without_a_bias_and_with_another_start(key):
    x = np.ones((1, 4, 4, 2), np.float32)
    layer = conv.Convolution(3, use_bias=False, kernel_init=jax.nn.initializers.ones)
    found, variables = layer.init_with_output(key, x)
    assert jax.tree.map(jnp.shape, variables) == {"params": {"kernel": (3, 3, 2, 3)}}
    np.testing.assert_array_equal(found[0, :, :, 0], 2 * np.outer([2, 3, 3, 2], [2, 3, 3, 2]))
