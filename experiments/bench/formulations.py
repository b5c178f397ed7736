"""Other ways to write the sweep in plain JAX: what `reseg_jax.sweep` was chosen over.

They read the same parameters, share no code with it except the cutting of patches, and are
differentiated by JAX.

Dimension key: `T` steps, `N` lines, `D` input features, `U` units, `G` gates, `B H W C` image
axes, `I J` rows and columns of patches.
"""

import functools

import jax
import jax.numpy as jnp

from reseg_jax.recurrent.renet import to_patches

# --- one step: inputs are G arrays [N, U], hidden is h U, [N, G U] ------------------------------


def _gru(state, inputs, recurrent_kernel):
    reset, update, candidate = inputs
    hidden_r, hidden_u, hidden_c = jnp.split(state @ recurrent_kernel, 3, axis=-1)
    r, u = jax.nn.sigmoid(reset + hidden_r), jax.nn.sigmoid(update + hidden_u)
    state = (1 - u) * state + u * jnp.tanh(candidate + r * hidden_c)
    return state, state


def _lstm(state, inputs, recurrent_kernel):
    hidden, memory = state
    products = jnp.split(hidden @ recurrent_kernel, 4, axis=-1)
    i, f, g, o = (x + product for x, product in zip(inputs, products, strict=True))
    memory = jax.nn.sigmoid(f) * memory + jax.nn.sigmoid(i) * jnp.tanh(g)
    hidden = jax.nn.sigmoid(o) * jnp.tanh(memory)
    return (hidden, memory), hidden


def _rnn(state, inputs, recurrent_kernel):
    state = jnp.tanh(inputs[0] + state @ recurrent_kernel)
    return state, state


def _mingru(state, inputs, recurrent_kernel):
    update, candidate = inputs
    u = jax.nn.sigmoid(update)
    state = (1 - u) * state + u * candidate
    return state, state


_STEPS = {"gru": (_gru, 3), "lstm": (_lstm, 4), "rnn": (_rnn, 1), "mingru": (_mingru, 2)}


def _start(cell, lines, params):
    _, gates = _STEPS[cell]
    zeros = jnp.zeros((lines.shape[1], params["bias"].size // gates), lines.dtype)
    return (zeros, zeros) if cell == "lstm" else zeros


# --- sweeps, [T, N, D] -> [T, N, U] ---------------------------------------------------------------


def projection_in_the_loop(cell, params, lines, reverse):
    """Equation by equation: every step multiplies its own input (what `flax.linen.RNN` does)."""
    step, gates = _STEPS[cell]

    def body(state, x):
        inputs = jnp.split(x @ params["input_kernel"] + params["bias"], gates, axis=-1)
        return step(state, inputs, params.get("recurrent_kernel"))

    return jax.lax.scan(body, _start(cell, lines, params), lines, reverse=reverse)[1]


def one_wide_array(cell, params, lines, reverse):
    """One product for all steps; the scan reads [T, N, G U] and cuts the gates in each step."""
    step, gates = _STEPS[cell]
    projected = lines @ params["input_kernel"] + params["bias"]

    def body(state, x):
        return step(state, jnp.split(x, gates, axis=-1), params.get("recurrent_kernel"))

    return jax.lax.scan(body, _start(cell, lines, params), projected, reverse=reverse)[1]


def one_array_per_gate(cell, params, lines, reverse):
    """One product for all steps, cut into G arrays [T, N, U] that the scan reads."""
    step, gates = _STEPS[cell]
    projected = lines @ params["input_kernel"] + params["bias"]

    def body(state, inputs):
        return step(state, inputs, params.get("recurrent_kernel"))

    inputs = tuple(jnp.split(projected, gates, axis=-1))
    return jax.lax.scan(body, _start(cell, lines, params), inputs, reverse=reverse)[1]


def python_loop(cell, params, lines, reverse):
    """No scan: a `for` over the steps. Under `jit` it is traced, and compiled, step by step."""
    step, gates = _STEPS[cell]
    projected = lines @ params["input_kernel"] + params["bias"]
    inputs = jnp.split(projected, gates, axis=-1)
    state, outputs = _start(cell, lines, params), [None] * len(lines)
    for t in reversed(range(len(lines))) if reverse else range(len(lines)):
        state, outputs[t] = step(state, [x[t] for x in inputs], params.get("recurrent_kernel"))
    return jnp.stack(outputs)


# --- the layer ------------------------------------------------------------------------------------


def renet_layer(sweep, cell, patch, params, image):
    """[B, H, W, C] -> [B, I, J, 2 U] by a `sweep` of this file; columns first, then rows."""
    cells = to_patches(image, (patch, patch))
    for direction, time_major in (("vertical", (1, 0, 2, 3)), ("horizontal", (2, 0, 1, 3))):
        lines = cells.transpose(time_major)
        steps, *parallel, features = lines.shape
        lines = lines.reshape(steps, -1, features)
        pair = params[direction]
        swept = jnp.concatenate(
            [
                sweep(cell, pair["forward"], lines, False),
                sweep(cell, pair["backward"], lines, True),
            ],
            axis=-1,
        )
        back = (1, 0, 2, 3) if direction == "vertical" else (1, 2, 0, 3)
        cells = swept.reshape(steps, *parallel, -1).transpose(back)
    return cells


SCANS = {
    "one array per gate": one_array_per_gate,
    "one wide array": one_wide_array,
    "projection in the loop": projection_in_the_loop,
}


def layer(name: str, cell: str, patch: int):
    """`(params, image [B, H, W, C]) -> [B, I, J, 2 U]`; a name of `SCANS` or "Python loop"."""
    sweep = {**SCANS, "Python loop": python_loop}[name]
    return functools.partial(renet_layer, sweep, cell, patch)
