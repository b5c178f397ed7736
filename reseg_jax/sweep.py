"""Run a cell along lines: `lax.scan` over the steps, `vmap` over the lines.

Dimension key: `T` steps, `N` lines swept in parallel, `D` input features, `U` units, `G` gates.
Everything is time-major, [T, N, ...]: a step reads one contiguous slab.
"""

import functools

import jax
import jax.numpy as jnp

from reseg_jax.cells import CELLS


@functools.partial(jax.jit, static_argnames=("cell", "reverse", "unroll"))
def sweep(
    params: dict,
    lines: jax.Array,
    cell: str = "gru",
    reverse: bool = False,
    unroll: int | bool = 1,
) -> jax.Array:
    """Sweep one recurrent unit along every line (paper section 3.1, equations 1 and 2).

    Args:
      params: `input_kernel` [D, G U], `recurrent_kernel` [U, G U] and `bias` [G U], the gates
        side by side in the order of `CELLS[cell].gates`.
      lines: [T, N, D].
      cell: a name in `CELLS`.
      reverse: walk from step T - 1 to 0. Outputs stay aligned with inputs.
      unroll: steps per iteration of the compiled loop; True unrolls it whole. The result is
        the same up to rounding.

    Returns:
      [T, N, U]: the output after reading each step, from a zero initial state.
    """
    gates, initial, step = CELLS[cell]
    recurrent_kernel = params["recurrent_kernel"]
    # All steps are projected in one product before the loop: only h U has to wait for h.
    projected = lines @ params["input_kernel"] + params["bias"]
    inputs = tuple(jnp.split(projected, len(gates), axis=-1))

    def sweep_line(line):
        state = initial(recurrent_kernel.shape[0], projected.dtype)
        body = functools.partial(step, recurrent_kernel)
        return jax.lax.scan(body, state, line, reverse=reverse, unroll=unroll)[1]

    return jax.vmap(sweep_line, in_axes=1, out_axes=1)(inputs)


def sweep_both_ways(
    params: dict, lines: jax.Array, cell: str = "gru", unroll: int | bool = 1
) -> jax.Array:
    """The two sweeps of a sublayer, forward and backward, both reading `lines` [T, N, D].

    `params` holds "forward" and "backward", each as in `sweep`. Returns [T, N, 2 U]: the
    forward units, then the backward units.
    """
    forward = sweep(params["forward"], lines, cell, reverse=False, unroll=unroll)
    backward = sweep(params["backward"], lines, cell, reverse=True, unroll=unroll)
    return jnp.concatenate([forward, backward], axis=-1)
