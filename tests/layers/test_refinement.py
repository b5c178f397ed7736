"""RefineNet's parts: the loops, and that they change nothing before they have learned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax.layers.refinement import (
    ChainedResidualPooling,
    MultiResolutionFusion,
    ResidualConvUnit,
)
from tests.support import reference_layers
from tests.support.reference import assert_close


def randomized(variables):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), variables)


def noise(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def convolution(x, variables, name):
    return reference_layers.convolution(x, variables["params"][name]["kernel"])


def max_5x5(x):
    """Maxima over what there is of each window."""
    out = np.zeros(x.shape)
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            window = x[:, max(0, i - 2) : i + 3, max(0, j - 2) : j + 3]
            out[:, i, j] = window.max(axis=(1, 2))
    return out


def test_a_residual_unit_equals_the_loops(key):
    x, unit = noise(2, 4, 5, 3), ResidualConvUnit()
    variables = randomized(unit.init(key, x))
    inner = convolution(np.maximum(x, 0), variables, "first")
    expected = x + convolution(np.maximum(inner, 0), variables, "second")
    assert_close(unit.apply(variables, jnp.asarray(x)), expected, 1e-5)


def test_chained_pooling_equals_the_loops(key):
    """On 9x6 pixels, two windows beside one another; each pooling reads the one before."""
    x, pooling = noise(2, 9, 6, 3), ChainedResidualPooling(3)
    variables = randomized(pooling.init(key, x))
    chain = expected = np.maximum(np.float64(x), 0)
    for i in range(3):
        chain = convolution(max_5x5(chain), variables, f"conv_{i}")
        expected = expected + chain
    assert_close(pooling.apply(variables, jnp.asarray(x)), expected, 1e-5)


def test_fusion_equals_the_loops(key):
    """3x2 cells in the corners and halfway between those of 5x3 pixels."""
    fine, coarse, fusion = noise(2, 5, 3, 2), noise(2, 3, 2, 4), MultiResolutionFusion()
    variables = randomized(fusion.init(key, [fine, coarse]))
    expected = convolution(fine, variables, "path_0")
    added = convolution(coarse, variables, "path_1")
    for i in range(5):
        for j in range(3):
            rows, columns = {i // 2, (i + 1) // 2}, {j // 2, (j + 1) // 2}
            cells = [added[:, row, column] for row in rows for column in columns]
            expected[:, i, j] += sum(cells) / len(cells)
    found = fusion.apply(variables, [jnp.asarray(fine), jnp.asarray(coarse)])
    assert found.shape == (2, 5, 3, 2)  # the largest size, the fewest channels
    assert_close(found, expected, 1e-5)


@pytest.mark.parametrize("part", [ResidualConvUnit(), ChainedResidualPooling(4)])
def test_zero_convolutions_leave_the_identity(part, key):
    """Of what is rectified, as pooling reads it. Each part begins so."""
    x = np.abs(noise(2, 5, 4, 3))
    variables = part.init(key, x)
    np.testing.assert_array_equal(part.apply(variables, x), x)
    np.testing.assert_array_equal(part.apply(jax.tree.map(np.zeros_like, variables), x), x)
    found = part.apply(variables, -x)
    np.testing.assert_array_equal(found, -x if isinstance(part, ResidualConvUnit) else 0 * x)
