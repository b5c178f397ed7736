"""Work of a function, counted from its program: the FLOPs of products and convolutions.

XLA's own cost analysis counts the body of a loop once, however often it runs, and a sweep is a
loop. Additions, activations and pooling are left out, as is customary: they are few beside these.
"""

import math
from collections.abc import Callable

import jax
from jax.extend.core import jaxprs_in_params
from jax.interpreters.partial_eval import dce_jaxpr


def count(function: Callable, *arguments) -> int:
    """FLOPs of a function; a multiplication and an addition count as two.

    Of branches the most expensive one counts. A `while` loop, whose length is unknown, counts as
    one pass; loops of known length, `scan` and `fori_loop`, count fully.

    Args:
      function: of arrays; it is traced, not run.
      *arguments: arrays, or `jax.ShapeDtypeStruct`s in their place.

    Returns:
      FLOPs of `function(*arguments)`.
    """
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    # XLA too leaves out results that are never read, such as gradients of frozen features.
    used, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return _sum(used)


def _sum(jaxpr):
    return sum(map(_of_equation, jaxpr.eqns))


def _of_equation(equation):
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        terms = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
        return 2 * terms * equation.outvars[0].aval.size
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval
        outputs = kernel.shape[params["dimension_numbers"].rhs_spec[0]]
        terms = kernel.size // outputs * equation.outvars[0].aval.size
        # Most of a dilated input is zeros, whose products are never needed.
        return 2 * terms // math.prod(params["lhs_dilation"])
    bodies = [_sum(jaxpr) for jaxpr in jaxprs_in_params(params)]
    if name == "cond":
        return max(bodies)
    return _times(name, params) * sum(bodies)


def _times(name, params):
    """How often the body of an equation runs."""
    if name == "scan":
        return params["length"]
    if name == "shard_map":
        return params["mesh"].size  # every device runs it, on its share
    if name == "pallas_call":
        return math.prod(params["grid_mapping"].grid)
    return 1
