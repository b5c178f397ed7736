"""A sweep against the loop of the oracle, its gradient, and what a walk along a line implies."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax.errors import UserError
from reseg_jax.recurrent.cells import CELLS
from reseg_jax.recurrent.sweep import GATES, sweep
from tests.support import reference
from tests.support.reference import assert_close, assert_gradient

STEPS, LINES, INPUTS, UNITS = 7, 3, 4, 5


def case(cell, dtype=np.float32, steps=STEPS):
    rng = np.random.default_rng(1)
    params = reference.random_direction(rng, INPUTS, UNITS, cell)
    lines = rng.normal(size=(steps, LINES, INPUTS))
    return jax.tree.map(lambda value: value.astype(dtype), (params, lines))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", GATES)
def test_equals_the_loop(cell, reverse):
    params, lines = case(cell)
    expected = reference.sweep(params, lines, cell, reverse)
    found = sweep(params, lines, cell, reverse=reverse)
    assert found.dtype == jnp.float32
    assert_close(found, expected)


@pytest.mark.parametrize("unroll", [3, True])
@pytest.mark.parametrize("cell", CELLS)
def test_unrolled_equals_the_loop(cell, unroll):
    """Also if the steps of an iteration do not divide those of a line."""
    params, lines = case(cell)
    expected = reference.sweep(params, lines, cell, reverse=True)
    assert_close(sweep(params, lines, cell, reverse=True, unroll=unroll), expected)


@pytest.mark.parametrize("cell", GATES)
def test_one_step(cell):
    params, lines = case(cell, steps=1)
    assert_close(sweep(params, lines, cell), reference.sweep(params, lines, cell))


def test_pallas_runs_only_the_gru():
    with pytest.raises(UserError, match=r"pallas.*use scan for cell=lstm"):
        sweep(*case("lstm"), "lstm", implementation="pallas")


# --- the gradient written by hand ----------------------------------------------------------------


def weighted_sum(function, arguments):
    """A loss that every output enters with a weight of its own."""
    outputs = function(*arguments)
    weights = np.random.default_rng(2).normal(size=outputs.shape)
    return (weights.astype(outputs.dtype) * outputs).sum()


def plain_sweep(params, lines, cell, reverse):
    """The sweep as a scan over the cell's step and nothing else, for autodiff to go through."""

    def mingru(_, state, inputs):
        (h,), (update, candidate) = state, inputs
        u = jax.nn.sigmoid(update)
        return ((1 - u) * h + u * candidate,), ()

    step, states = (mingru, 1) if cell == "mingru" else (CELLS[cell].step, CELLS[cell].states)

    def body(state, inputs):
        kernel = params.get("recurrent_kernel")
        state, _ = jax.vmap(step, in_axes=(None, 0, 0))(kernel, state, inputs)
        return state, state[0]

    inputs = lines @ params["input_kernel"] + params["bias"][None, None]
    inputs = tuple(jnp.split(inputs, reference.GATES[cell], axis=-1))
    initial = (jnp.zeros_like(inputs[0][0]),) * states
    return jax.lax.scan(body, initial, inputs, reverse=reverse)[1]


def assert_trees_close(found, expected, relative):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert_close(one, other, relative)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", GATES)
def test_gradient_equals_autodiff_of_a_plain_scan_and_slopes_of_the_oracle(cell, reverse):
    """Of the parameters and of the lines, the gates stored or computed again."""
    arguments = case(cell, np.float64)

    def gradient(function, **how):
        function = functools.partial(function, cell=cell, reverse=reverse, **how)
        return jax.jit(jax.grad(functools.partial(weighted_sum, function)))(arguments)

    with jax.enable_x64(True):
        expected = gradient(plain_sweep)
        for how in ({}, {"remat": True}) if cell in CELLS else ({},):
            assert_trees_close(gradient(sweep, **how), expected, 1e-10)
    oracle = functools.partial(reference.sweep, cell=cell, reverse=reverse)
    assert_gradient(expected, functools.partial(weighted_sum, oracle), arguments)


@pytest.mark.parametrize(
    ("cell", "reverse", "remat"),
    [("gru", False, False), ("gru", True, True), ("lstm", True, True), ("rnn", True, False)],
)
def test_second_derivative_equals_autodiff_of_a_plain_scan(cell, reverse, remat):
    """The gradient of a random projection of the gradient, in which every entry counts."""
    arguments = case(cell, np.float64, steps=4)

    def second(function, **how):
        function = functools.partial(function, cell=cell, reverse=reverse, **how)
        first = jax.grad(functools.partial(weighted_sum, function))

        def part(arguments):
            leaves = jax.tree.leaves(first(arguments))
            return weighted_sum(lambda *all: jnp.concatenate([x.ravel() for x in all]), leaves)

        return jax.jit(jax.grad(part))(arguments)

    with jax.enable_x64(True):
        assert_trees_close(second(sweep, remat=remat), second(plain_sweep), 1e-9)


@pytest.mark.parametrize("cell", CELLS)
def test_forward_mode_is_refused(cell):
    params, lines = case(cell)
    with pytest.raises(TypeError, match="forward-mode autodiff"):
        jax.jvp(lambda lines: sweep(params, lines, cell), (lines,), (lines,))


@pytest.mark.parametrize(("cell", "remat"), [("rnn", False), ("gru", True)])
def test_jit_vmap_and_checkpoint_leave_the_gradient_as_it_is(cell, remat):
    params, lines = case(cell)

    def gradient(scale, wrap=lambda function: function):
        @wrap
        def loss(kernel):
            changed = params | {"recurrent_kernel": kernel}
            return jnp.sum(sweep(changed, lines, cell, remat=remat) ** 2)

        return jax.grad(loss)(scale * params["recurrent_kernel"])

    expected = gradient(1.0)  # compiled op by op
    many = jax.jit(jax.vmap(gradient))(jnp.array([0.5, 1.0]))
    assert_close(many[1], expected)
    assert_close(jax.jit(gradient)(0.5), many[0])
    assert_close(jax.jit(functools.partial(gradient, wrap=jax.checkpoint))(1.0), expected)


@pytest.mark.parametrize("cell", GATES)
def test_bfloat16_gradient(cell):
    """Of the dtype of its argument, and the float32 gradient except for rounding.

    bfloat16 keeps 8 bits: errors of half of 2^-7 at each of 7 steps are 2.7 %.
    """
    rounded = jax.tree.map(lambda value: jnp.asarray(value, jnp.bfloat16), case(cell))
    exact = jax.tree.map(lambda value: value.astype(jnp.float32), rounded)
    gradient = jax.jit(
        jax.grad(functools.partial(weighted_sum, functools.partial(sweep, cell=cell)))
    )
    found, expected = gradient(rounded), gradient(exact)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(found)} == {"bfloat16"}
    found = jax.tree.map(lambda value: value.astype(jnp.float32), found)
    assert_trees_close(found, expected, 0.027)


def test_bfloat16_gradients_are_summed_in_float32():
    """A sum of ones in bfloat16 would end at 256, where the next number is 258.

    Without kernels h = tanh 1/2 at all 257 x 9 places, each adding 1 - h^2 to the gradient of
    the bias and of the input kernel (its inputs are ones), and all but the first step of a line
    h (1 - h^2) to that of the recurrent kernel.
    """
    steps, lines, zero = 257, 9, jnp.zeros((1, 1), jnp.bfloat16)
    params = {"input_kernel": zero, "recurrent_kernel": zero, "bias": zero[0] + 0.5}
    ones = jnp.ones((steps, lines, 1), jnp.bfloat16)
    outputs, pull = jax.vjp(lambda params: sweep(params, ones, "rnn"), params)
    (gradient,) = pull(jnp.ones_like(outputs))
    h = np.tanh(0.5)
    each = lines * (1 - h**2)
    expected = {"bias": steps, "input_kernel": steps, "recurrent_kernel": (steps - 1) * h}
    found = {name: float(value.ravel()[0]) / each for name, value in gradient.items()}
    assert found == pytest.approx(expected, rel=0.01)  # h, 1 - h^2, the result: 2^-8 each


@pytest.mark.parametrize(
    ("cell", "implementation"), [*((cell, "scan") for cell in GATES), ("gru", "pallas")]
)
def test_bfloat16_gradient_of_the_bias_is_that_of_a_kernel_that_reads_ones(cell, implementation):
    """Both are the sum of the same 257 x 9 terms, so neither may be summed in bfloat16."""
    params = reference.random_direction(np.random.default_rng(1), 1, 1, cell)
    params = jax.tree.map(lambda value: jnp.asarray(value, jnp.bfloat16), params)
    ones = jnp.ones((257, 9, 1), jnp.bfloat16)
    how = {"cell": cell, "implementation": implementation}
    outputs, pull = jax.jit(functools.partial(jax.vjp, functools.partial(sweep, **how)))(
        params, ones
    )
    gradient = pull(jnp.ones_like(outputs))[0]
    gradient = jax.tree.map(lambda value: np.asarray(value, np.float32), gradient)
    assert_close(gradient["bias"], gradient["input_kernel"][0], 0.01)


# --- laws ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", GATES)
def test_output_depends_only_on_the_past(cell, reverse):
    """A changed input changes the outputs of its own step and of those after it, to the end."""
    params, lines = case(cell)
    before = np.asarray(sweep(params, lines, cell, reverse=reverse))
    for t in range(STEPS):
        changed = lines.copy()
        changed[t] += 1
        difference = np.abs(sweep(params, changed, cell, reverse=reverse) - before)
        seen = np.arange(STEPS) <= t if reverse else np.arange(STEPS) >= t
        np.testing.assert_array_equal(difference.max(axis=(1, 2)) > 0, seen)


@pytest.mark.parametrize("cell", GATES)
def test_lines_do_not_see_each_other(cell):
    params, lines = case(cell)
    together = sweep(params, lines, cell)
    one_by_one = np.concatenate([sweep(params, lines[:, n : n + 1], cell) for n in range(LINES)], 1)
    assert_close(together, one_by_one, 1e-6)


@pytest.mark.parametrize("cell", GATES)
def test_walking_backwards_is_turning_the_line_twice(cell):
    params, lines = case(cell)
    turned = sweep(params, lines[::-1], cell)[::-1]
    assert_close(sweep(params, lines, cell, reverse=True), turned, 1e-6)


@pytest.mark.parametrize("cell", GATES)
def test_zero_state_means_a_prefix_is_a_sweep_of_its_own(cell):
    """The first steps of a long line are the sweep of the short line."""
    params, lines = case(cell)
    assert_close(sweep(params, lines, cell)[:3], sweep(params, lines[:3], cell), 1e-6)


@pytest.mark.parametrize("cell", GATES)
def test_jit_and_vmap_change_nothing(cell):
    params, lines = case(cell)
    function = functools.partial(sweep, cell=cell)
    expected = function(params, lines)
    assert_close(jax.jit(function)(params, lines), expected, 1e-6)
    many = jax.vmap(function, in_axes=(None, 0))(params, np.stack([lines, 2 * lines]))
    assert_close(many[0], expected, 1e-6)
    assert_close(many[1], function(params, 2 * lines), 1e-6)


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"cell": "gruu"}, {"implementation": "scam"}])
def test_an_unknown_name_is_refused_with_the_known_ones(wrong):
    params, lines = case("gru")
    with pytest.raises(UserError, match=r"unknown; known are: .*(gru|scan)"):
        sweep(params, lines, **wrong)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lines": np.zeros((7, 4), "f4")},
         r"lines has shape \(7, 4\): give \[steps, lines, features\] \(lines\[:, None\]"),
        ({"lines": np.zeros((7, 3, 5), "f4")}, r"input_kernel'\] .* lines of 5 features"),
        ({"lines": np.zeros((7, 3, 4), bool)}, "lines is bool: give floats"),
        ({"lines": [[0.0]]}, "lines is a list: give an array"),
        ({"params": None}, "params needs input_kernel, bias, recurrent_kernel and has NoneType"),
        ({"params": {"bias": np.zeros(15, "f4")}}, "params needs .* and has bias"),
        ({"cell": "lstm"}, r"a cell of 4 gates and 3 units .*the parameters of this cell"),
        ({"lengths": np.ones(2, int)}, r"lengths are int64 of shape \(2,\): give 3 whole numbers"),
        ({"lengths": np.ones(3, "f4")}, r"lengths are float32 of shape \(3,\)"),
        ({"unroll": 0}, "unroll=0: give a number of steps"),
    ],
)  # fmt: skip
def test_other_arguments_are_refused_before_xla_sees_them(change, message):
    params, lines = case("gru")
    arguments = {"params": params, "lines": lines} | change
    with pytest.raises(UserError, match=message):
        sweep(**arguments)
    with pytest.raises(UserError):
        jax.eval_shape(lambda: sweep(**arguments))
