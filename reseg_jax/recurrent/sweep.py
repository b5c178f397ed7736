"""Run a cell along lines: `lax.scan` over the steps, `vmap` over the lines; and the way back.

Dimension key: `T` steps, `N` lines swept in parallel, `D` input features, `U` units, `G` gates.
Everything is time-major, [T, N, ...]: a step reads one contiguous slab.
"""

import functools

import jax
import jax.numpy as jnp

from reseg_jax.errors import UserError, check_choice
from reseg_jax.recurrent.cells import CELLS
from reseg_jax.recurrent.checks import check_sweep
from reseg_jax.recurrent.linear_cells import LINEAR_CELLS

IMPLEMENTATIONS = ("scan", "pallas")

_ALL = CELLS | LINEAR_CELLS
GATES = {name: cell.gates for name, cell in _ALL.items()}
"""The gates of every cell, in the order of the kernels' columns."""


def sweep(
    params: dict,
    lines: jax.Array,
    cell: str = "gru",
    reverse: bool = False,
    unroll: int | bool = 1,
    remat: bool = False,
    implementation: str = "scan",
    lengths: jax.Array | None = None,
    dtype: str | None = None,
) -> jax.Array:
    """Sweep one recurrent unit along every line (paper section 3.1, equations 1 and 2).

    Args:
      params: `input_kernel` [D, G U], `recurrent_kernel` [U, G U] and `bias` [G U], the gates
        side by side in the order of `GATES[cell]`. "mingru" has no `recurrent_kernel`.
      lines: [T, N, D].
      cell: a name in `GATES`.
      reverse: walk from step T - 1 to 0. Outputs stay aligned with inputs.
      unroll: steps per iteration of the compiled loop; True unrolls all of it. The result is the
        same up to rounding.
      remat: store only the outputs for the backward pass and compute the gates again there: less
        memory, more time, the same gradient.
      implementation: "scan", or "pallas": one GPU kernel for all steps of a GRU (experimental,
        `reseg_jax.recurrent.pallas_gru`). It ignores `unroll` and `remat`, and so does "mingru".
      lengths: int32 [N], how many steps belong to each line; None: all T. A backward walk begins
        at the last of them. The inputs after them do not matter, and the outputs after them mean
        nothing.
      dtype: compute the product of the lines and the input kernel in it, "bfloat16" for example;
        biases, states and the gradients' dtypes are the parameters'. None: the arguments' dtype.

    Returns:
      [T, N, U]: the output after reading each step, from a zero initial state.

    Raises:
      UserError: `cell` or `implementation` is unknown, they do not go together, or an array has
        another shape or dtype.
    """
    check_choice("cell", cell, GATES)
    check_choice("implementation", implementation, IMPLEMENTATIONS)
    if implementation == "pallas" and cell != "gru":
        raise UserError(f"implementation=pallas runs only the GRU: use scan for cell={cell}")
    if isinstance(unroll, str) or unroll < 1:
        raise UserError(f"unroll={unroll!r}: give a number of steps from 1, or True for all")
    check_sweep(params, lines, GATES[cell], cell not in LINEAR_CELLS, lengths)
    how = (bool(reverse), unroll, bool(remat), implementation, dtype)
    return _sweep(params, lines, cell, *how, lengths)


@functools.partial(jax.jit, static_argnums=range(2, 8))
def _sweep(params, lines, cell, reverse, unroll, remat, implementation, dtype, lengths):
    if implementation == "scan" and cell not in LINEAR_CELLS:
        return _scan(cell, reverse, unroll, remat, dtype, params, lines, lengths)
    inputs = _gate_inputs(cell, _project(dtype, _input_params(params), lines), lengths)
    if cell in LINEAR_CELLS:
        return LINEAR_CELLS[cell].run(inputs, reverse)
    from reseg_jax.recurrent.pallas_gru import gru_sweep  # Pallas is imported only when used

    return gru_sweep(params["recurrent_kernel"], inputs, reverse)


def sweep_both_ways(
    params: dict, lines: jax.Array, cell: str = "gru", chained: bool = False, **options
) -> jax.Array:
    """The two sweeps of a sublayer, forward and backward.

    Args:
      params: {"forward", "backward"}, each as in `sweep`.
      lines: [T, N, D].
      cell: a name in `GATES`.
      chained: the backward sweep reads the output of the forward one (the released code); in the
        paper's equations 1 and 2 both read `lines`.
      **options: the other arguments of `sweep`.

    Returns:
      [T, N, 2 U]: the forward units, then the backward units.
    """
    forward = sweep(params["forward"], lines, cell, reverse=False, **options)
    read = forward if chained else lines
    backward = sweep(params["backward"], read, cell, reverse=True, **options)
    return jnp.concatenate([forward, backward], axis=-1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _project(dtype, params, lines):
    # All steps are projected in one product before the loop: only h U has to wait for h.
    lines, kernel = _in(dtype, lines, params["input_kernel"])
    wanted = None if dtype is None else params["bias"].dtype
    product = jnp.matmul(lines, kernel, preferred_element_type=wanted)
    return product + params["bias"][None, None]


def _in(dtype, *arrays):
    return arrays if dtype is None else tuple(array.astype(dtype) for array in arrays)


def _projected(dtype, params, lines):
    return _project(dtype, params, lines), (params, lines)


def _unproject(dtype, residuals, d_projected):
    """Autodiff's gradient, except for the sum over the bias, which it would take in bfloat16."""
    params, lines = residuals
    _, pull = jax.vjp(jnp.matmul, *_in(dtype, lines, params["input_kernel"]))
    d_lines, d_input_kernel = pull(*_in(dtype, d_projected))
    if dtype is not None:
        d_lines = d_lines.astype(lines.dtype)
        d_input_kernel = d_input_kernel.astype(params["input_kernel"].dtype)
    d_bias = d_projected.sum((0, 1), dtype=_sum_dtype(d_projected.dtype))
    return {"input_kernel": d_input_kernel, "bias": d_bias.astype(params["bias"].dtype)}, d_lines


_project.defvjp(_projected, _unproject)


def _sum_dtype(dtype):
    """Sums over all steps are in float32 at least, also if the network is in bfloat16."""
    return jnp.float32 if dtype.itemsize < 4 else dtype


def _input_params(params):
    return {name: params[name] for name in ("input_kernel", "bias")}


def _gate_inputs(cell, projected, lengths):
    """[T, N, G U] as one array per gate; idle after the end of a line."""
    inputs = jnp.split(projected, len(GATES[cell]), axis=-1)
    if lengths is None:
        return tuple(inputs)
    valid = _valid(len(projected), lengths)
    return tuple(jnp.where(valid, x, idle) for x, idle in zip(inputs, _ALL[cell].idle, strict=True))


def _valid(steps, lengths):
    """[T, N, 1]: which steps belong to the lines."""
    return (jnp.arange(steps)[:, None] < lengths[None])[..., None]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2, 3, 4))
def _scan(cell, reverse, unroll, remat, dtype, params, lines, lengths):
    return _walk(cell, reverse, unroll, dtype, params, lines, lengths)[0][0]


def _walk(cell, reverse, unroll, dtype, params, lines, lengths):
    """States and activations of all steps; XLA drops what is never read."""
    step = CELLS[cell].step
    recurrent_kernel = params["recurrent_kernel"]
    projected = _project(dtype, _input_params(params), lines)
    initial = (jnp.zeros(recurrent_kernel.shape[0], projected.dtype),) * CELLS[cell].states

    def body(state, inputs):
        state, activations = step(recurrent_kernel, state, inputs)
        return state, (state, activations)

    def walk_line(inputs):
        return jax.lax.scan(body, initial, inputs, reverse=reverse, unroll=unroll)[1]

    inputs = _gate_inputs(cell, projected, lengths)
    return jax.vmap(walk_line, in_axes=1, out_axes=1)(inputs)


def _forward(cell, reverse, unroll, remat, dtype, params, lines, lengths):
    states, activations = _walk(cell, reverse, unroll, dtype, params, lines, lengths)
    return states[0], (params, lines, lengths, states, None if remat else activations)


def _backward(cell, reverse, unroll, remat, dtype, residuals, d_outputs):
    """Walk the other way, carrying the gradient of the state and summing the kernel's.

    The recurrent kernel's gradient is summed inside the loop, where its factors are available: as
    one product after the loop it would need d_product of every step in memory, and be no faster.
    The gradients of the input kernel, the bias and the lines are one product each, after the loop.
    """
    step, gradient = CELLS[cell].step, CELLS[cell].gradient
    params, lines, lengths, states, activations = residuals
    recurrent_kernel = params["recurrent_kernel"]
    project = functools.partial(_project, dtype)
    projected, pull = jax.vjp(project, _input_params(params), lines)
    stored = _gate_inputs(cell, projected, lengths) if remat else activations

    def body(carry, at_step):
        (d_output, *d_rest), d_kernel = carry
        d_step, previous, stored = at_step
        activations = stored
        if remat:
            _, activations = jax.vmap(step, in_axes=(None, 0, 0))(
                recurrent_kernel, previous, stored
            )
        d_state = (d_output + d_step, *d_rest)
        d_previous, d_inputs, d_product = jax.vmap(gradient, in_axes=(None, 0, 0, 0))(
            recurrent_kernel, previous, activations, d_state
        )
        d_previous = (d_previous[0] + d_product @ recurrent_kernel.T, *d_previous[1:])
        d_kernel += jnp.matmul(previous[0].T, d_product, preferred_element_type=d_kernel.dtype)
        return (d_previous, d_kernel), jnp.concatenate(d_inputs, axis=-1)

    no_kernel = jnp.zeros_like(recurrent_kernel, _sum_dtype(recurrent_kernel.dtype))
    no_state = tuple(jnp.zeros_like(state[0]) for state in states)
    previous = jax.tree.map(functools.partial(_one_step_before, reverse=reverse), states)
    (_, d_kernel), d_projected = jax.lax.scan(
        body,
        (no_state, no_kernel),
        (d_outputs, previous, stored),
        reverse=not reverse,
        unroll=unroll,
    )
    if lengths is not None:
        d_projected = jnp.where(_valid(len(lines), lengths), d_projected, 0)
    d_params, d_lines = pull(d_projected)
    return d_params | {"recurrent_kernel": d_kernel.astype(recurrent_kernel.dtype)}, d_lines, None


def _one_step_before(states, reverse):
    """[T, N, U] of states -> the state that each step started from."""
    zero = jnp.zeros_like(states[:1])
    return jnp.concatenate([states[1:], zero] if reverse else [zero, states[:-1]])


_scan.defvjp(_forward, _backward)
