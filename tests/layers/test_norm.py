"""Batch normalization against its definition, and that fill images do not reach it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax.layers.norm import BatchNorm, local_response_norm
from tests.support import reference_layers
from tests.support.reference import assert_close

SHAPE = (3, 4, 5, 2)
RNG = np.random.default_rng(0)
X = RNG.normal(3, 2, SHAPE).astype(np.float32)
VARIABLES = {
    "params": {"scale": np.float32([0.5, -2]), "bias": np.float32([1, 3])},
    "batch_stats": {"mean": np.float32([2, 4]), "var": np.float32([9, 0.25])},
}
LAYER = BatchNorm()


def train(x, **options):
    """(normalized, the new running averages)."""
    found, changed = LAYER.apply(VARIABLES, x, train=True, mutable=["batch_stats"], **options)
    return found, changed["batch_stats"]


def test_variables():
    variables = LAYER.init(jax.random.key(0), X, train=False)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, VARIABLES)
    found = LAYER.apply(variables, X, train=False)
    assert_close(found, X / np.sqrt(1 + 1e-5), 1e-6)


def test_training_normalizes_by_the_batch_and_moves_the_averages_a_tenth():
    found, averages = train(X)
    expected, mean, var = reference_layers.batch_norm(X, **VARIABLES["params"])
    assert_close(found, expected, 1e-5)
    assert_close(averages["mean"], 0.9 * VARIABLES["batch_stats"]["mean"] + 0.1 * mean, 1e-6)
    assert_close(averages["var"], 0.9 * VARIABLES["batch_stats"]["var"] + 0.1 * var, 1e-6)


def test_inference_normalizes_by_the_averages():
    found = LAYER.apply(VARIABLES, X, train=False)
    expected, *_ = reference_layers.batch_norm(X, **VARIABLES["params"], **VARIABLES["batch_stats"])
    assert_close(found, expected, 1e-5)


def test_channels_far_from_zero_keep_their_digits():
    """E[x^2] - E[x]^2 in float32 would be off by more than the variance here."""
    x = 10_000 + X
    _, averages = train(x)
    _, _, var = reference_layers.batch_norm(x, **VARIABLES["params"])
    assert_close(averages["var"], 0.9 * VARIABLES["batch_stats"]["var"] + 0.1 * var, 1e-4)


@pytest.mark.parametrize("fill", [0, 1e6, np.nan])
def test_fill_images_reach_nothing(fill):
    filled = np.concatenate([X[:1], np.full_like(X[:2], fill), X[1:]])
    weight = np.float32([1, 0, 0, 0.5, 2])
    found, averages = jax.jit(lambda x, weight: train(x, weight=weight))(filled, weight)
    expected, expected_averages = train(X)
    assert_close(found[np.array([0, 3, 4])], np.asarray(expected), 1e-6)
    jax.tree.map(lambda a, b: assert_close(a, b, 1e-6), averages, expected_averages)


def test_gradients_are_those_without_the_fill_images():
    def loss(x, weight=None):
        return jnp.sum(jnp.tanh(train(x, weight=weight)[0][: len(X)]))

    filled = np.concatenate([X, np.ones_like(X[:1])])
    found = jax.grad(loss)(filled, np.float32([1, 1, 1, 0]))
    assert_close(found[:3], np.asarray(jax.grad(loss)(jnp.asarray(X))), 1e-5)
    assert (found[3] == 0).all()


def test_pixels_beyond_the_valid_size_reach_nothing():
    larger = np.pad(X, ((0, 0), (0, 3), (0, 1), (0, 0)), constant_values=50)
    found, averages = train(larger, valid_size=np.int32(SHAPE[1:3]))
    expected, expected_averages = train(X)
    assert_close(found[:, :4, :5], np.asarray(expected), 1e-6)
    jax.tree.map(lambda a, b: assert_close(a, b, 1e-6), averages, expected_averages)
    both, _ = train(larger, valid_size=np.int32(SHAPE[1:3]), weight=np.float32([1, 0, 1]))
    expected, _ = train(X[::2])
    assert_close(both[::2, :4, :5], np.asarray(expected), 1e-6)


def test_vectors_without_pixels():
    x = X[:, 0, 0]
    found, _ = train(x, weight=np.float32([1, 1, 0]))
    expected, *_ = reference_layers.batch_norm(x[:2], **VARIABLES["params"])
    assert_close(found[:2], expected, 1e-5)


def test_local_responses_by_hand():
    """Krizhevsky et al. 2012, section 3.3: channel 2 of 6 sees channels 0 to 4, channel 0 three."""
    x = np.arange(1, 7, dtype=np.float32)[None]
    found = local_response_norm(jnp.asarray(x), alpha=0.5)
    assert found[0, 2] == pytest.approx(3 / (1 + 0.1 * (1 + 4 + 9 + 16 + 25)) ** 0.75, 1e-6)
    assert found[0, 0] == pytest.approx(1 / (1 + 0.1 * (1 + 4 + 9)) ** 0.75, 1e-6)
