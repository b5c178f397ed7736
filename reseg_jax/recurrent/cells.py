"""One step of a recurrence and its gradient, for one line: GRU, LSTM and tanh RNN.

Dimension key: `U` units, `G` gates. A step reads the *projected* input, one array [U] per gate
(x W + b, computed for all steps at once by `sweep`), because one array per gate is what XLA
vectorizes on a CPU; the recurrent kernel holds all gates side by side, [U, G U], because one
product per step beats G small ones.

The gradients are written by hand: autodiff of the loop takes 1.5 times the memory and 1.5 times
the time or more (docs/performance.md).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Cell(NamedTuple):
    """A recurrent unit. Its state is a tuple of [U] arrays, of which the first, h, is the output.

    Attributes:
      gates: names of the gates, in the order of the kernels' columns.
      idle: per gate, an input that leaves a state of zero at zero: what padded steps read.
      states: arrays in the state; all start at zero (the released code learns no initial state).
      step: `(recurrent_kernel [U, G U], state, inputs: G arrays [U]) -> (state, activations)`;
        the activations are what `gradient` reads of the gates.
      gradient: `(recurrent_kernel, previous_state, activations, d_state) -> (d_previous, d_inputs:
        G arrays [U], d_product [G U])`: from the gradient of a step's new state, those of its
        inputs, of the product h U, and of the previous state by all paths except that product.
    """

    gates: tuple[str, ...]
    idle: tuple[float, ...]
    states: int
    step: Callable
    gradient: Callable


CLOSED = -1e4
"""Input of a gate whose sigmoid is 0 to the last bit, whatever the state adds: exp(-1e4) is 0."""


def sigmoid(x: jax.Array) -> jax.Array:
    """1 / (1 + exp(-x)), as a tanh: one transcendental that XLA:CPU vectorizes."""
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


def gru_step(recurrent_kernel, state, inputs):
    """Gated recurrent unit (Cho et al. 2014) in the authors' form.

    r, u = sigmoid(x W + h U + b); c = tanh(x W + r * (h U) + b); h' = (1 - u) h + u c.

    The reset gate acts after the product with the recurrent kernel and there is one bias per
    gate, as in the Lasagne layer that the released code uses. torch and Flax write z = 1 - u.

    Args:
      recurrent_kernel: [U, 3 U], the gates in the order reset, update, candidate.
      state: (h [U],).
      inputs: x W + b of those gates, three arrays [U].

    Returns:
      ((h',), (r, u, c)), all [U].
    """
    (h,) = state
    reset, update, candidate = inputs
    product_reset, product_update, product_candidate = jnp.split(h @ recurrent_kernel, 3)
    r = sigmoid(reset + product_reset)
    u = sigmoid(update + product_update)
    c = jnp.tanh(candidate + r * product_candidate)
    return ((1 - u) * h + u * c,), (r, u, c)


def gru_gradient(recurrent_kernel, previous, activations, d_state):
    """The chain rule of `gru_step`. The candidate's product is computed again, not stored.

    Args:
      recurrent_kernel: [U, 3 U].
      previous: (h [U],) before the step.
      activations: (r, u, c) of the step.
      d_state: (gradient by h' [U],).

    Returns:
      (d_previous, d_inputs, d_product), see `Cell.gradient`.
    """
    (h,), (r, u, c), (d,) = previous, activations, d_state
    product_candidate = h @ recurrent_kernel[:, 2 * h.size :]
    d_update = d * (c - h) * u * (1 - u)
    d_candidate = d * u * (1 - c * c)
    d_reset = d_candidate * product_candidate * r * (1 - r)
    d_product = jnp.concatenate([d_reset, d_update, d_candidate * r])
    return (d * (1 - u),), (d_reset, d_update, d_candidate), d_product


def lstm_step(recurrent_kernel, state, inputs):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000).

    i, f, o = sigmoid(x W + h U + b); g = tanh(x W + h U + b); m' = f m + i g; h' = o tanh(m').
    No peepholes.

    Args:
      recurrent_kernel: [U, 4 U], the gates in the order i, f, g, o.
      state: (h, m), output and memory, each [U].
      inputs: x W + b of those gates, four arrays [U].

    Returns:
      ((h', m'), (i, f, g, o)), all [U].
    """
    h, m = state
    products = jnp.split(h @ recurrent_kernel, 4)
    i, f, g, o = (x + product for x, product in zip(inputs, products, strict=True))
    i, f, g, o = sigmoid(i), sigmoid(f), jnp.tanh(g), sigmoid(o)
    m = f * m + i * g
    return (o * jnp.tanh(m), m), (i, f, g, o)


def lstm_gradient(recurrent_kernel, previous, activations, d_state):
    """The chain rule of `lstm_step`; arguments and results as for `gru_gradient`, state (h, m)."""
    (_, m), (i, f, g, o), (d, d_memory) = previous, activations, d_state
    squashed = jnp.tanh(f * m + i * g)
    d_memory = d_memory + d * o * (1 - squashed * squashed)
    d_inputs = (
        d_memory * g * i * (1 - i),
        d_memory * m * f * (1 - f),
        d_memory * i * (1 - g * g),
        d * squashed * o * (1 - o),
    )
    return (jnp.zeros_like(d), d_memory * f), d_inputs, jnp.concatenate(d_inputs)


def rnn_step(recurrent_kernel, state, inputs):
    """Vanilla recurrence: h' = tanh(x W + h U + b) (paper section 3).

    Args:
      recurrent_kernel: [U, U].
      state: (h [U],).
      inputs: (x W + b [U],).

    Returns:
      ((h',), (h',)); the activation is the new state.
    """
    (h,), (x,) = state, inputs
    h = jnp.tanh(x + h @ recurrent_kernel)
    return (h,), (h,)


def rnn_gradient(recurrent_kernel, previous, activations, d_state):
    """The chain rule of `rnn_step`; arguments and results as for `gru_gradient`."""
    (h,), (d,) = activations, d_state
    d_input = d * (1 - h * h)
    return (jnp.zeros_like(d),), (d_input,), d_input


CELLS = {
    "gru": Cell(("reset", "update", "candidate"), (0, CLOSED, 0), 1, gru_step, gru_gradient),
    "lstm": Cell(
        ("input", "forget", "cell", "output"), (CLOSED, 0, 0, 0), 2, lstm_step, lstm_gradient
    ),
    "rnn": Cell(("hidden",), (0,), 1, rnn_step, rnn_gradient),
}
"""The recurrent units by name."""
