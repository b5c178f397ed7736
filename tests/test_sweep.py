"""A sweep against the loop of the oracle, its gradient, and what a walk along a line implies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax.cells import CELLS
from reseg_jax.sweep import sweep
from tests import reference
from tests.reference import assert_close, assert_gradient

STEPS, LINES, INPUTS, UNITS = 7, 3, 4, 5


def case(cell, dtype=np.float32, steps=STEPS):
    rng = np.random.default_rng(1)
    params = reference.random_direction(rng, INPUTS, UNITS, cell)
    lines = rng.normal(size=(steps, LINES, INPUTS))
    return jax.tree.map(lambda value: value.astype(dtype), (params, lines))


@pytest.mark.parametrize("unroll", [1, 3, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_equals_the_loop(cell, reverse, unroll):
    params, lines = case(cell)
    expected = reference.sweep(params, lines, cell, reverse)
    found = sweep(params, lines, cell, reverse=reverse, unroll=unroll)
    assert found.dtype == jnp.float32
    assert_close(found, expected)


def test_one_step():
    params, lines = case("gru", steps=1)
    assert_close(sweep(params, lines), reference.sweep(params, lines))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_gradient_equals_finite_differences_of_the_oracle(cell, reverse):
    params, lines = case(cell, np.float64, steps=4)
    weights = np.random.default_rng(2).normal(size=(4, LINES, UNITS))

    def oracle(arguments):
        return np.sum(weights * reference.sweep(*arguments, cell, reverse))

    with jax.enable_x64(True):
        gradient = jax.grad(lambda a: jnp.sum(weights * sweep(*a, cell, reverse)))((params, lines))
    assert_gradient(gradient, oracle, (params, lines))


@pytest.mark.parametrize("reverse", [False, True])
def test_output_knows_the_past_alone(reverse):
    """[t out, t in]: nonzero exactly where the input was read before or at the output."""
    params, lines = case("gru", steps=5)
    jacobian = jax.jacobian(lambda x: sweep(params, x, reverse=reverse)[:, 0])(lines)[:, :, :, 0]
    seen = np.abs(jacobian).max(axis=(1, 3)) > 0
    everything = np.ones((5, 5), bool)
    np.testing.assert_array_equal(seen, np.triu(everything) if reverse else np.tril(everything))


def test_lines_do_not_see_each_other():
    params, lines = case("lstm")
    together = sweep(params, lines, "lstm")
    alone = np.concatenate([sweep(params, lines[:, n : n + 1], "lstm") for n in range(LINES)], 1)
    assert_close(together, alone, 1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_walking_backwards_is_turning_the_line_twice(cell):
    params, lines = case(cell)
    turned = sweep(params, lines[::-1], cell)[::-1]
    assert_close(sweep(params, lines, cell, reverse=True), turned, 1e-6)


def test_zero_state_means_a_prefix_stands_alone():
    """The first steps of a long line are the sweep of the short line."""
    params, lines = case("gru")
    assert_close(sweep(params, lines)[:3], sweep(params, lines[:3]), 1e-6)


def test_jit_and_vmap_change_nothing():
    params, lines = case("gru")
    expected = sweep(params, lines)
    assert_close(jax.jit(sweep)(params, lines), expected, 1e-6)
    many = jax.vmap(sweep, in_axes=(None, 0))(params, np.stack([lines, 2 * lines]))
    assert_close(many[0], expected, 1e-6)
    assert_close(many[1], sweep(params, 2 * lines), 1e-6)


def test_second_call_compiles_nothing():
    params, lines = case("gru")
    sweep(params, lines)
    before = sweep._cache_size()
    sweep(params, 2 * lines)
    assert sweep._cache_size() == before
