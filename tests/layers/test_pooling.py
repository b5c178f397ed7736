"""2x2 max pooling: maxima over what there is of each window, and whose gradient they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax.layers.pooling import max_pool
from tests.support import reference_layers


@pytest.mark.parametrize("size", [(4, 6), (5, 6), (4, 3), (7, 5), (1, 1), (1, 4)])
def test_equals_the_loops(size):
    """All values are below 0: zeros in the place of what is missing would show."""
    x = np.random.default_rng(0).uniform(-2, -1, (2, *size, 3)).astype(np.float32)
    np.testing.assert_array_equal(max_pool(x), reference_layers.max_pool(x))


@pytest.mark.parametrize("size", [(4, 6), (5, 3)])
def test_the_gradient_goes_to_each_maximum(size):
    x = np.random.default_rng(1).permutation(np.prod(size)).astype(np.float32)
    x = -1 - x.reshape(1, *size, 1)
    gradient = jax.grad(lambda x: max_pool(x).sum())(jnp.asarray(x))
    largest = np.isin(x, reference_layers.max_pool(x))
    np.testing.assert_array_equal(gradient, largest.astype(np.float32))
