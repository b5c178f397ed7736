"""The paper's Adadelta against Zeiler's rule; every optimizer goes down."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from reseg_jax.training import optimizers
from tests.support import reference_training as reference

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
    """On a bowl as steep as a summed loss; a rate of None is the optimizer's own."""
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an integer
        points = path(optimizers.make(name), lambda x: 100 * x, [1.0, -2.0], 20)
    heights = np.sum(points**2, axis=-1)
    assert (np.diff(heights) < 0).all()


def test_weight_decay_concerns_kernels_only():
    """With no gradient AdamW's step is -rate decay p, and nothing for a bias."""
    params = {"kernel": jnp.array([2.0]), "bias": jnp.array([3.0])}
    optimizer = optimizers.make("adamw", 0.1, weight_decay=0.5)
    with jax.numpy_dtype_promotion("standard"):
        updates, _ = optimizer.update(
            jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params
        )
    np.testing.assert_allclose(updates["kernel"], [-0.1 * 0.5 * 2.0], rtol=1e-6)
    np.testing.assert_array_equal(updates["bias"], [0.0])


def test_a_cosine_climbs_falls_and_ends_at_nothing():
    rate = optimizers.schedule("cosine", 2.0, steps=14, warmup=4)
    found = [float(rate(step)) for step in (0, 2, 4, 9, 14)]
    np.testing.assert_allclose(found, [0, 1, 2, 1, 0], atol=1e-6)
    assert optimizers.schedule("constant", 2.0, steps=14) == 2.0
    poly = optimizers.schedule("poly", 2.0, steps=10)
    np.testing.assert_allclose([float(poly(step)) for step in (0, 5, 10)], [2, 2 * 0.5**0.9, 0])
    warm = optimizers.schedule("constant", 2.0, steps=14, warmup=4)
    np.testing.assert_allclose([float(warm(step)) for step in (0, 1, 4, 13)], [0, 0.5, 2, 2])


def test_groups_of_parameters_have_their_own_rates():
    params = {name: {"kernel": jnp.array([1.0])} for name in ("vgg", "head", "classifier")}
    optimizer = optimizers.scale_updates(optax.sgd(1.0), {"vgg": 0.1, "classifier": 10.0})
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    np.testing.assert_allclose(updates["vgg"]["kernel"], [-0.1], rtol=1e-6)
    np.testing.assert_allclose(updates["head"]["kernel"], [-1.0], rtol=1e-6)
    np.testing.assert_allclose(updates["classifier"]["kernel"], [-10.0], rtol=1e-6)


def test_the_average_follows_the_parameters_by_hand():
    """p = 0, 1, 2, 3; decays min(0.15, 1/10, 2/11, 3/12) = 0.1, 0.15, 0.15."""
    optimizer = optimizers.averaging(optax.sgd(1.0), decay=0.15)
    params = {"kernel": jnp.array([0.0])}
    state = optimizer.init(params)
    for _ in range(3):
        updates, state = optimizer.update({"kernel": jnp.array([-1.0])}, state, params)
        params = optax.apply_updates(params, updates)
    assert params["kernel"] == 3
    expected = 0.9 * 1
    for newest in (2, 3):
        expected = 0.15 * expected + 0.85 * newest
    average = optimizers.averaged(state, params)["kernel"]
    np.testing.assert_allclose(average, [expected], rtol=1e-6)
    assert optimizers.averaged(optax.EmptyState(), params) is params
