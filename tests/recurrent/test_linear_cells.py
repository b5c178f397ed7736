"""minGRU: closed forms by hand, and the loop that it equals. Its laws: test_sweep."""

import jax
import numpy as np
import pytest

from reseg_jax.recurrent.linear_cells import mingru
from reseg_jax.recurrent.sweep import sweep
from tests.support import reference
from tests.support.reference import assert_close


def run(update, candidate, reverse=False):
    """One line of one unit: [T] -> [T]."""
    inputs = tuple(np.float32(values)[:, None, None] for values in (update, candidate))
    return np.asarray(mingru(inputs, reverse))[:, 0, 0]


@pytest.mark.parametrize(("reverse", "expected"), [(False, [4, 3, 4.5]), (True, [5.25, 2.5, 3])])
def test_half_open_it_goes_half_way_to_the_candidate(reverse, expected):
    """u = 1/2: forwards half way from 0 to 8 is 4, from there to 2 is 3, and to 6 is 4.5."""
    assert run([0, 0, 0], [8, 2, 6], reverse) == pytest.approx(expected)


def test_shut_it_keeps_and_open_it_takes():
    """The candidate is no tanh: it may be 5."""
    assert run([100, -100, -100, 100], [5, 1, 2, -3]) == pytest.approx([5, 5, 5, -3])


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 300])
def test_any_number_of_steps_equals_the_loop(steps):
    rng = np.random.default_rng(0)
    params = reference.random_direction(rng, 2, 3, "mingru")
    lines = rng.normal(size=(steps, 2, 2))
    arguments = jax.tree.map(np.float32, (params, lines))
    assert_close(sweep(*arguments, "mingru"), reference.sweep(params, lines, "mingru"))


def test_forward_mode_is_not_refused():
    """dh / d candidate = u, for one step from zero."""
    _, slope = jax.jvp(
        lambda c: mingru((np.zeros((1, 1, 1), np.float32), c), False),
        (np.ones((1, 1, 1), np.float32),),
        (np.ones((1, 1, 1), np.float32),),
    )
    assert float(slope[0, 0, 0]) == pytest.approx(0.5)
