"""The paper's Adadelta against Zeiler's rule; every optimiser goes down."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from reseg_jax import optimizers
from tests import reference

SCALES = np.array([1e-3, 1.0, 30.0])  # a slope below eps, one beside it, one far above


def path(optimizer, gradient, start, steps):
    """Points that `optimizer` visits."""
    x = jnp.asarray(start, jnp.float32)
    state, points = optimizer.init(x), [np.asarray(x)]
    for _ in range(steps):
        updates, state = optimizer.update(gradient(x), state, x)
        x = optax.apply_updates(x, updates)
        points.append(np.asarray(x))
    return np.stack(points)


@pytest.mark.parametrize("learning_rate", [None, 0.3])
def test_adadelta_is_zeilers_rule(learning_rate):
    """50 steps down a bowl with the constants of the paper's run: rate 1, rho 0.95, eps 1e-6."""
    start = np.array([1.0, -2.0, 0.5])
    rate = 1.0 if learning_rate is None else learning_rate
    expected = reference.adadelta(lambda x: SCALES * x, start, 50, learning_rate=rate)
    optimizer = optimizers.make("adadelta", learning_rate)
    found = path(optimizer, lambda x: jnp.asarray(SCALES, jnp.float32) * x, start, 50)
    # Compared by how far each coordinate has gone: the smallest has hardly moved.
    np.testing.assert_allclose(found - start, expected - start, rtol=2e-3, atol=1e-6)


def test_first_adadelta_step_by_hand():
    """g sqrt(eps) / sqrt(0.05 g^2 + eps) = 1e-3 * 2 / sqrt(0.2 + 1e-6), downhill."""
    found = path(optimizers.make("adadelta"), lambda x: 0 * x + 2, [0.0], 1)
    assert found[1] == pytest.approx([-2e-3 / np.sqrt(0.2 + 1e-6)], rel=1e-5)


@pytest.mark.parametrize("name", optimizers.NAMES)
def test_all_descend(name):
    """On a bowl as steep as a summed loss; a rate of None is the optimiser's own."""
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an integer
        points = path(optimizers.make(name), lambda x: 100 * x, [1.0, -2.0], 20)
    heights = np.sum(points**2, axis=-1)
    assert (np.diff(heights) < 0).all()
