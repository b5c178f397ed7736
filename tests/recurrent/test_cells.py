"""The recurrent units: closed forms by hand, saturated gates, and torch's GRU."""

import pathlib

import numpy as np
import pytest

from reseg_jax.recurrent.sweep import GATES, sweep
from tests.support import reference

GOLDEN = pathlib.Path(__file__).parents[1] / "goldens" / "torch_gru.npz"


def run(cell, lines, input_kernel, recurrent_kernel, bias):
    """One line of one feature through one unit: [T] -> [T]."""
    params = {
        "input_kernel": np.float32([input_kernel]),
        "recurrent_kernel": np.float32([recurrent_kernel]),
        "bias": np.float32(bias),
    }
    return np.asarray(sweep(params, np.float32(lines)[:, None, None], cell))[:, 0, 0]


def test_gru_without_kernels_halves_its_distance_to_the_candidate():
    """r = u = 1/2 and c = tanh 1, so h' = h / 2 + tanh(1) / 2."""
    outputs = run("gru", [5, -2, 3, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1])
    assert outputs == pytest.approx([np.tanh(1) * (1 - 0.5**t) for t in (1, 2, 3, 4)], rel=1e-6)


def test_gru_with_its_update_gate_shut_never_moves():
    assert run("gru", [1, 2, 3], [1, 0, 1], [1, 1, 1], [0, -100, 1]) == pytest.approx([0, 0, 0])


def test_gru_with_its_reset_gate_shut_has_no_memory():
    """Update open, reset shut: h' = tanh(x W + b), whatever came before."""
    outputs = run("gru", [0.1, -0.2, 0.3], [0, 0, 2], [0, 0, 5], [-100, 100, 0.5])
    assert outputs == pytest.approx(np.tanh([0.7, 0.1, 1.1]), rel=1e-6)


def test_reset_gate_acts_after_the_recurrent_product():
    """Two units that differ: r * (h U), not (r * h) U."""
    zero, open_, half = 0.0, 100.0, 0.0
    # Step 1 leaves h = tanh(1, 2). Unit 0 has r = 1, unit 1 has r = 1/2; U swaps the units.
    params = {
        "input_kernel": np.float32([[zero, zero, zero, zero, 1, 2]]),
        "recurrent_kernel": np.float32([[0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 0]]),
        "bias": np.float32([open_, half, open_, open_, 0, 0]),
    }
    outputs = sweep(params, np.float32([1, 0])[:, None, None], "gru")
    expected = np.tanh([1.0 * np.tanh(2), 0.5 * np.tanh(1)])
    np.testing.assert_allclose(outputs[1, 0], expected, rtol=1e-6)


def test_lstm_with_open_gates_adds_up():
    """Memory is the running sum of tanh(x); the output is its tanh."""
    outputs = run("lstm", [0.5, -1, 2], [0, 0, 1, 0], [0, 0, 0, 0], [100, 100, 0, 100])
    assert outputs == pytest.approx(np.tanh(np.cumsum(np.tanh([0.5, -1, 2]))), rel=1e-6)


def test_lstm_gates_have_their_own_columns():
    """i, f, o of 1/2, 3/4, 1/4 and g = tanh 1: c' = 3/4 c + tanh(1) / 2; h' = tanh(c') / 4."""
    logit = np.log(3)
    outputs = run("lstm", [0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, logit, 1, -logit])
    memory = np.array([0.5, 0.875]) * np.tanh(1)
    assert outputs == pytest.approx(0.25 * np.tanh(memory), rel=1e-6)


def test_rnn_by_hand():
    first = np.tanh(3 * 0.2 + 0.5)
    outputs = run("rnn", [0.2, 0], [3], [2], [0.5])
    assert outputs == pytest.approx([first, np.tanh(2 * first + 0.5)], rel=1e-6)


def test_gate_counts():
    assert {cell: len(names) for cell, names in GATES.items()} == reference.GATES


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_gru_equals_torch(direction):
    """goldens/make_torch_gru.py says how torch's weights become ours."""
    with np.load(GOLDEN) as golden:
        names = ("input_kernel", "recurrent_kernel", "bias")
        params = {name: golden[f"{direction}/{name}"] for name in names}
        lines, outputs = golden["lines"], golden["outputs"]
    forward, backward = np.split(outputs, 2, axis=-1)
    expected, reverse = (forward, False) if direction == "forward" else (backward, True)
    # The oracle in float64, to its last digits; then the library in float32.
    found = reference.sweep(params, lines, reverse=reverse)
    np.testing.assert_allclose(found, expected, atol=1e-13)
    single = {name: value.astype(np.float32) for name, value in params.items()}
    found = sweep(single, lines.astype(np.float32), "gru", reverse=reverse)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
