"""Max pooling: maxima over what there is of each window, and whose gradient they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax.layers.pooling import (
    max_pool,
    max_pool_centered,
    max_pool_with_switches,
    unpool,
)
from tests.support import reference_layers


@pytest.mark.parametrize("size", [(4, 6), (5, 6), (4, 3), (7, 5), (1, 1), (1, 4)])
def test_equals_the_loops(size):
    """All values are below 0: zeros in the place of what is missing would show."""
    x = np.random.default_rng(0).uniform(-2, -1, (2, *size, 3)).astype(np.float32)
    np.testing.assert_array_equal(max_pool(x), reference_layers.max_pool(x))


@pytest.mark.parametrize("size", [(4, 6), (7, 5), (1, 1), (1, 4)])
@pytest.mark.parametrize(("window", "stride"), [(3, 1), (3, 2), (5, 1)])
def test_windows_with_a_middle_equal_the_loops(size, window, stride):
    """All values are below 0 here, too."""
    x = np.random.default_rng(0).uniform(-2, -1, (2, *size, 3)).astype(np.float32)
    expected = reference_layers.max_pool_centered(x, window, stride)
    np.testing.assert_array_equal(max_pool_centered(x, window, stride), expected)


@pytest.mark.parametrize("size", [(4, 6), (5, 3)])
def test_the_gradient_goes_to_each_maximum(size):
    x = np.random.default_rng(1).permutation(np.prod(size)).astype(np.float32)
    x = -1 - x.reshape(1, *size, 1)
    gradient = jax.grad(lambda x: max_pool(x).sum())(jnp.asarray(x))
    largest = np.isin(x, reference_layers.max_pool(x))
    np.testing.assert_array_equal(gradient, largest.astype(np.float32))


@pytest.mark.parametrize("size", [(4, 6), (5, 6), (4, 3), (1, 1)])
def test_unpooling_puts_the_maxima_where_they_were(size):
    """The law of switches: unpool(pool(x)) is x at each window's maximum, and 0 elsewhere."""
    x = np.random.default_rng(2).permutation(2 * size[0] * size[1] * 3).astype(np.float32) - 50.5
    x = x.reshape(2, *size, 3)  # no two alike
    pooled, switches = max_pool_with_switches(jnp.asarray(x))
    np.testing.assert_array_equal(pooled, reference_layers.max_pool(x))
    assert switches.dtype == jnp.uint8
    expected = np.where(np.isin(x, pooled), x, 0)
    np.testing.assert_array_equal(unpool(pooled, switches, size), expected)


def test_switches_of_equal_pixels_are_the_first():
    _, switches = max_pool_with_switches(jnp.zeros((1, 2, 2, 1)))
    assert switches.item() == 0
    _, switches = max_pool_with_switches(jnp.asarray([[0.0, 1.0], [1.0, 1.0]])[None, ..., None])
    assert switches.item() == 1


def test_the_gradient_passes_both_ways_along_the_switches():
    x = jnp.asarray([[4.0, 1.0], [2.0, 3.0]])[None, ..., None]
    _, switches = max_pool_with_switches(x)
    weights = jnp.asarray([[10.0, 20.0], [30.0, 40.0]])[None, ..., None]
    gradient = jax.grad(lambda y: (unpool(y, switches) * weights).sum())(jnp.zeros((1, 1, 1, 1)))
    assert gradient.item() == 10  # the weight of the pixel that was largest
    gradient = jax.grad(lambda x: 7 * max_pool_with_switches(x)[0].sum())(x)
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[7, 0], [0, 0]])
