"""Recurrences that are linear in the state: a sweep is a parallel prefix, no loop over steps.

Not in the paper. Dimension key: `T` steps, `N` lines, `U` units, `G` gates.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax

from reseg_jax.recurrent.cells import CLOSED, sigmoid


class LinearCell(NamedTuple):
    """A unit whose gates read only the input, not the state.

    Attributes:
      gates: names of the gates, in the order of the kernels' columns.
      idle: per gate, an input that leaves a state of zero at zero: what padded steps read.
      run: `(inputs: G arrays [T, N, U], reverse) -> [T, N, U]`, the whole sweep.
    """

    gates: tuple[str, ...]
    idle: tuple[float, ...]
    run: Callable


def mingru(inputs: tuple[jax.Array, jax.Array], reverse: bool) -> jax.Array:
    """minGRU (Feng et al. 2024, "Were RNNs all we needed?", section 3.1), zero initial state.

    u = sigmoid(x W + b); c = x W + b; h' = (1 - u) h + u c. The affine maps h -> a h + b compose
    to affine maps, so all prefixes are found in O(log T) passes.

    Args:
      inputs: x W + b of the gates update and candidate, two arrays [T, N, U].
      reverse: walk from step T - 1 to 0. Outputs stay aligned with inputs.

    Returns:
      h after each step, [T, N, U].
    """
    update, candidate = inputs
    u = sigmoid(update)

    def compose(first, second):
        return first[0] * second[0], first[1] * second[0] + second[1]

    _, h = jax.lax.associative_scan(compose, (1 - u, u * candidate), reverse=reverse)
    return h


LINEAR_CELLS = {"mingru": LinearCell(("update", "candidate"), (CLOSED, 0), mingru)}
"""The linear recurrences by name."""
