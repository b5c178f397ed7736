"""Run a cell along lines: `lax.scan` over the steps, `vmap` over the lines; and the way back.

Dimension key: `T` steps, `N` lines swept in parallel, `D` input features, `U` units, `G` gates.
Everything is time-major, [T, N, ...]: a step reads one contiguous slab.
"""

import functools

import jax
import jax.numpy as jnp

from reseg_jax.cells import CELLS
from reseg_jax.errors import UserError
from reseg_jax.parallel_cells import PARALLEL_CELLS

IMPLEMENTATIONS = ("scan", "pallas")

GATES = {name: cell.gates for name, cell in (CELLS | PARALLEL_CELLS).items()}
"""The gates of every cell, in the order of the kernels' columns."""


@functools.partial(
    jax.jit, static_argnames=("cell", "reverse", "unroll", "recompute", "implementation")
)
def sweep(
    params: dict,
    lines: jax.Array,
    cell: str = "gru",
    reverse: bool = False,
    unroll: int | bool = 1,
    recompute: bool = False,
    implementation: str = "scan",
) -> jax.Array:
    """Sweep one recurrent unit along every line (paper section 3.1, equations 1 and 2).

    Args:
      params: `input_kernel` [D, G U], `recurrent_kernel` [U, G U] and `bias` [G U], the gates
        side by side in the order of `GATES[cell]`. "mingru" has no `recurrent_kernel`.
      lines: [T, N, D].
      cell: a name in `GATES`.
      reverse: walk from step T - 1 to 0. Outputs stay aligned with inputs.
      unroll: steps per iteration of the compiled loop; True unrolls it whole. The result is
        the same up to rounding.
      recompute: keep the outputs alone for the backward pass and compute the gates again there:
        less memory, more time, the same gradient.
      implementation: "scan", or "pallas": one GPU kernel for all steps of a GRU (experimental,
        `reseg_jax.kernels`); `unroll` and `recompute` do not concern it, nor "mingru" the three.

    Returns:
      [T, N, U]: the output after reading each step, from a zero initial state.
    """
    if cell in PARALLEL_CELLS:
        inputs = jnp.split(_project(params, lines), len(GATES[cell]), axis=-1)
        return PARALLEL_CELLS[cell].run(inputs, reverse)
    if implementation == "pallas":
        if cell != "gru":
            raise UserError(f"implementation=pallas runs the GRU alone: use scan for cell={cell}")
        from reseg_jax.kernels.gru import gru_sweep  # imports Pallas, which most never use

        inputs = tuple(jnp.split(_project(params, lines), len(GATES[cell]), axis=-1))
        return gru_sweep(params["recurrent_kernel"], inputs, reverse)
    return _scan(cell, reverse, unroll, recompute, params, lines)


def sweep_both_ways(params: dict, lines: jax.Array, cell: str = "gru", **how) -> jax.Array:
    """The two sweeps of a sublayer, forward and backward, both reading `lines` [T, N, D].

    `params` holds "forward" and "backward", each as in `sweep`; `how`: its other arguments.
    Returns [T, N, 2 U]: the forward units, then the backward units.
    """
    forward = sweep(params["forward"], lines, cell, reverse=False, **how)
    backward = sweep(params["backward"], lines, cell, reverse=True, **how)
    return jnp.concatenate([forward, backward], axis=-1)


def _project(params, lines):
    # All steps are projected in one product before the loop: only h U has to wait for h.
    return lines @ params["input_kernel"] + params["bias"]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2, 3))
def _scan(cell, reverse, unroll, recompute, params, lines):
    return _walk(cell, reverse, unroll, params, lines)[0][0]


def _walk(cell, reverse, unroll, params, lines):
    """States and activations of all steps; what nobody reads, XLA does not keep."""
    gates, states, step, _ = CELLS[cell]
    recurrent_kernel = params["recurrent_kernel"]
    projected = _project(params, lines)
    initial = (jnp.zeros(recurrent_kernel.shape[0], projected.dtype),) * states

    def body(state, inputs):
        state, activations = step(recurrent_kernel, state, inputs)
        return state, (state, activations)

    def walk_line(inputs):
        return jax.lax.scan(body, initial, inputs, reverse=reverse, unroll=unroll)[1]

    inputs = tuple(jnp.split(projected, len(gates), axis=-1))
    return jax.vmap(walk_line, in_axes=1, out_axes=1)(inputs)


def _forward(cell, reverse, unroll, recompute, params, lines):
    states, activations = _walk(cell, reverse, unroll, params, lines)
    return states[0], (params, lines, states, None if recompute else activations)


def _backward(cell, reverse, unroll, recompute, kept, d_outputs):
    """Walk the other way, carrying the gradient of the state and summing up the kernel's.

    The recurrent kernel's gradient grows inside the loop, where what it multiplies is at hand:
    as one product afterwards it would need d_product of every step in memory, at no gain in time.
    The input kernel's gradient, the bias' and the lines' are one product each, after the loop.
    """
    gates, _, step, gradient = CELLS[cell]
    params, lines, states, activations = kept
    recurrent_kernel = params["recurrent_kernel"]
    seen = activations
    if recompute:
        seen = tuple(jnp.split(_project(params, lines), len(gates), axis=-1))

    def body(carry, at_step):
        (d_output, *d_rest), d_kernel = carry
        d_step, previous, seen = at_step
        if recompute:
            _, seen = jax.vmap(step, in_axes=(None, 0, 0))(recurrent_kernel, previous, seen)
        d_state = (d_output + d_step, *d_rest)
        d_previous, d_inputs, d_product = jax.vmap(gradient, in_axes=(None, 0, 0, 0))(
            recurrent_kernel, previous, seen, d_state
        )
        d_previous = (d_previous[0] + d_product @ recurrent_kernel.T, *d_previous[1:])
        d_kernel += jnp.matmul(previous[0].T, d_product, preferred_element_type=d_kernel.dtype)
        return (d_previous, d_kernel), jnp.concatenate(d_inputs, axis=-1)

    # Sums over all steps are in float32 at least, also where the network is in bfloat16.
    half = recurrent_kernel.dtype.itemsize < 4
    no_kernel = jnp.zeros_like(recurrent_kernel, jnp.float32 if half else None)
    no_state = tuple(jnp.zeros_like(state[0]) for state in states)
    previous = jax.tree.map(functools.partial(_one_step_before, reverse=reverse), states)
    (_, d_kernel), d_projected = jax.lax.scan(
        body, (no_state, no_kernel), (d_outputs, previous, seen), reverse=not reverse, unroll=unroll
    )
    _, pull = jax.vjp(jnp.matmul, lines, params["input_kernel"])
    d_lines, d_input_kernel = pull(d_projected)
    d_params = {
        "input_kernel": d_input_kernel,
        "recurrent_kernel": d_kernel.astype(recurrent_kernel.dtype),
        "bias": d_projected.sum((0, 1), dtype=no_kernel.dtype).astype(params["bias"].dtype),
    }
    return d_params, d_lines


def _one_step_before(states, reverse):
    """[T, N, U] of states -> the state that each step started from."""
    zero = jnp.zeros_like(states[:1])
    return jnp.concatenate([states[1:], zero] if reverse else [zero, states[:-1]])


_scan.defvjp(_forward, _backward)
