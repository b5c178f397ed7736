"""One step of a recurrence, for one line: GRU, LSTM and tanh RNN as pure functions.

Dimension key: `U` units, `G` gates. A step reads the *projected* input, one array [U] a gate
(x W + b, computed for all steps at once by `sweep`), because a gate of its own array is what
XLA vectorises on a CPU; the recurrent kernel holds all gates side by side, [U, G U], because
one product a step beats G small ones.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Cell(NamedTuple):
    """A recurrent unit.

    gates: names of the gates, in the order of the kernels' columns.
    initial: `(units, dtype) -> state`, zeros (the released code learns no initial state).
    step: `(recurrent_kernel [U, G U], state, inputs: G arrays [U]) -> (state, output [U])`.
    """

    gates: tuple[str, ...]
    initial: Callable
    step: Callable


def _zeros(units, dtype):
    return jnp.zeros(units, dtype)


def _two_zeros(units, dtype):
    return jnp.zeros(units, dtype), jnp.zeros(units, dtype)


def sigmoid(x: jax.Array) -> jax.Array:
    """1 / (1 + exp(-x)), as a tanh: one transcendental that XLA:CPU vectorises."""
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


def gru_step(recurrent_kernel, state, inputs):
    """Gated recurrent unit (Cho et al. 2014) in the authors' form.

    r, u = sigmoid(x W + h U + b); c = tanh(x W + r * (h U) + b); h' = (1 - u) h + u c.

    The reset gate acts after the product with the recurrent kernel and there is one bias a
    gate, as in the Lasagne layer that the released code uses. torch and Flax write z = 1 - u.
    """
    reset, update, candidate = inputs
    hidden_reset, hidden_update, hidden_candidate = jnp.split(state @ recurrent_kernel, 3)
    r = sigmoid(reset + hidden_reset)
    u = sigmoid(update + hidden_update)
    c = jnp.tanh(candidate + r * hidden_candidate)
    new = (1 - u) * state + u * c
    return new, new


def lstm_step(recurrent_kernel, state, inputs):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000).

    i, f, o = sigmoid(x W + h U + b); g = tanh(x W + h U + b); c' = f c + i g; h' = o tanh(c').
    No peepholes.
    """
    hidden, memory = state
    recurrent = jnp.split(hidden @ recurrent_kernel, 4)
    i, f, g, o = (x + h for x, h in zip(inputs, recurrent, strict=True))
    memory = sigmoid(f) * memory + sigmoid(i) * jnp.tanh(g)
    hidden = sigmoid(o) * jnp.tanh(memory)
    return (hidden, memory), hidden


def rnn_step(recurrent_kernel, state, inputs):
    """Vanilla recurrence: h' = tanh(x W + h U + b) (paper section 3)."""
    (x,) = inputs
    new = jnp.tanh(x + state @ recurrent_kernel)
    return new, new


CELLS = {
    "gru": Cell(("reset", "update", "candidate"), _zeros, gru_step),
    "lstm": Cell(("input", "forget", "cell", "output"), _two_zeros, lstm_step),
    "rnn": Cell(("hidden",), _zeros, rnn_step),
}
