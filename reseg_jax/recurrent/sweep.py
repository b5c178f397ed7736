"""Run a cell along lines: `lax.scan` over the steps, `vmap` over the lines; and the way back.

Dimension key: `T` steps, `N` lines swept in parallel, `D` input features, `U` units, `G` gates.
Everything is time-major, [T, N, ...]: a step reads one contiguous slab.
"""

import functools

import jax
import jax.numpy as jnp

from reseg_jax.errors import UserError
from reseg_jax.recurrent.cells import CELLS
from reseg_jax.recurrent.linear_cells import PARALLEL_CELLS

IMPLEMENTATIONS = ("scan", "pallas")

_ALL = CELLS | PARALLEL_CELLS
GATES = {name: cell.gates for name, cell in _ALL.items()}
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
    lengths: jax.Array | None = None,
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
        `reseg_jax.recurrent.pallas_gru`); `unroll` and `recompute` do not concern it, nor "mingru".
      lengths: int32 [N], how many steps are each line's own, or None: all. A backward walk begins
        at the last of them. What lines hold behind them does not matter, and what the result
        holds there means nothing.

    Returns:
      [T, N, U]: the output after reading each step, from a zero initial state.
    """
    for name, value, known in (
        ("cell", cell, GATES),
        ("implementation", implementation, IMPLEMENTATIONS),
    ):
        if value not in known:
            raise UserError(f"{name}={value!r} is unknown; known are: {', '.join(known)}")
    if implementation == "pallas" and cell != "gru":
        raise UserError(f"implementation=pallas runs the GRU alone: use scan for cell={cell}")
    if implementation == "scan" and cell not in PARALLEL_CELLS:
        return _scan(cell, reverse, unroll, recompute, params, lines, lengths)
    inputs = _gate_inputs(cell, _project(_input_params(params), lines), lengths)
    if cell in PARALLEL_CELLS:
        return PARALLEL_CELLS[cell].run(inputs, reverse)
    from reseg_jax.recurrent.pallas_gru import gru_sweep  # imports Pallas, which most never use

    return gru_sweep(params["recurrent_kernel"], inputs, reverse)


def sweep_both_ways(
    params: dict, lines: jax.Array, cell: str = "gru", chained: bool = False, **how
) -> jax.Array:
    """The two sweeps of a sublayer, forward and backward, both reading `lines` [T, N, D].

    `params` holds "forward" and "backward", each as in `sweep`; `how`: its other arguments.
    chained: the backward sweep reads the forward one's output (the released code; the paper's
    equations 1 and 2 have both read the lines).
    Returns [T, N, 2 U]: the forward units, then the backward units.
    """
    forward = sweep(params["forward"], lines, cell, reverse=False, **how)
    read = forward if chained else lines
    backward = sweep(params["backward"], read, cell, reverse=True, **how)
    return jnp.concatenate([forward, backward], axis=-1)


@jax.custom_vjp
def _project(params, lines):
    # All steps are projected in one product before the loop: only h U has to wait for h.
    return lines @ params["input_kernel"] + params["bias"]


def _projected(params, lines):
    return _project(params, lines), (params, lines)


def _unproject(kept, d_projected):
    """Autodiff's gradient, but for the bias' sum, which it would take in bfloat16."""
    params, lines = kept
    _, pull = jax.vjp(jnp.matmul, lines, params["input_kernel"])
    d_lines, d_input_kernel = pull(d_projected)
    d_bias = d_projected.sum((0, 1), dtype=_sum_dtype(d_projected.dtype))
    return {"input_kernel": d_input_kernel, "bias": d_bias.astype(params["bias"].dtype)}, d_lines


_project.defvjp(_projected, _unproject)


def _sum_dtype(dtype):
    """Sums over all steps are in float32 at least, also where the network is in bfloat16."""
    return jnp.float32 if dtype.itemsize < 4 else dtype


def _input_params(params):
    return {name: params[name] for name in ("input_kernel", "bias")}


def _gate_inputs(cell, projected, lengths):
    """[T, N, G U] as one array a gate; idle behind the end of a line."""
    inputs = jnp.split(projected, len(GATES[cell]), axis=-1)
    if lengths is None:
        return tuple(inputs)
    own = _own(len(projected), lengths)
    return tuple(jnp.where(own, x, idle) for x, idle in zip(inputs, _ALL[cell].idle, strict=True))


def _own(steps, lengths):
    """[T, N, 1]: which steps are the lines' own."""
    return (jnp.arange(steps)[:, None] < lengths)[..., None]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2, 3))
def _scan(cell, reverse, unroll, recompute, params, lines, lengths):
    return _walk(cell, reverse, unroll, params, lines, lengths)[0][0]


def _walk(cell, reverse, unroll, params, lines, lengths):
    """States and activations of all steps; what nobody reads, XLA does not keep."""
    _, _, states, step, _ = CELLS[cell]
    recurrent_kernel = params["recurrent_kernel"]
    projected = _project(_input_params(params), lines)
    initial = (jnp.zeros(recurrent_kernel.shape[0], projected.dtype),) * states

    def body(state, inputs):
        state, activations = step(recurrent_kernel, state, inputs)
        return state, (state, activations)

    def walk_line(inputs):
        return jax.lax.scan(body, initial, inputs, reverse=reverse, unroll=unroll)[1]

    inputs = _gate_inputs(cell, projected, lengths)
    return jax.vmap(walk_line, in_axes=1, out_axes=1)(inputs)


def _forward(cell, reverse, unroll, recompute, params, lines, lengths):
    states, activations = _walk(cell, reverse, unroll, params, lines, lengths)
    return states[0], (params, lines, lengths, states, None if recompute else activations)


def _backward(cell, reverse, unroll, recompute, kept, d_outputs):
    """Walk the other way, carrying the gradient of the state and summing up the kernel's.

    The recurrent kernel's gradient grows inside the loop, where what it multiplies is at hand:
    as one product afterwards it would need d_product of every step in memory, at no gain in time.
    The input kernel's gradient, the bias' and the lines' are one product each, after the loop.
    """
    _, _, _, step, gradient = CELLS[cell]
    params, lines, lengths, states, activations = kept
    recurrent_kernel = params["recurrent_kernel"]
    projected, pull = jax.vjp(_project, _input_params(params), lines)
    seen = _gate_inputs(cell, projected, lengths) if recompute else activations

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

    no_kernel = jnp.zeros_like(recurrent_kernel, _sum_dtype(recurrent_kernel.dtype))
    no_state = tuple(jnp.zeros_like(state[0]) for state in states)
    previous = jax.tree.map(functools.partial(_one_step_before, reverse=reverse), states)
    (_, d_kernel), d_projected = jax.lax.scan(
        body, (no_state, no_kernel), (d_outputs, previous, seen), reverse=not reverse, unroll=unroll
    )
    if lengths is not None:
        d_projected = jnp.where(_own(len(lines), lengths), d_projected, 0)
    d_params, d_lines = pull(d_projected)
    return d_params | {"recurrent_kernel": d_kernel.astype(recurrent_kernel.dtype)}, d_lines, None


def _one_step_before(states, reverse):
    """[T, N, U] of states -> the state that each step started from."""
    zero = jnp.zeros_like(states[:1])
    return jnp.concatenate([states[1:], zero] if reverse else [zero, states[:-1]])


_scan.defvjp(_forward, _backward)
