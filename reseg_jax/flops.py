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
    """FLOPs of `function(*arguments)`, a multiplication and an addition counting as two.

    arguments: arrays, or `jax.ShapeDtypeStruct`s in their place; nothing is computed. Of branches
    the dearest counts. A `while` loop, whose length nobody knows, counts as one pass; loops of
    known length, `scan` and `fori_loop`, count fully.
    """
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    # Gradients that nobody reads (that of a frozen network's features) XLA leaves out as well.
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
        # Most of a dilated input is zeros, which no one multiplies.
        return 2 * terms // math.prod(params["lhs_dilation"])
    inside = [_sum(jaxpr) for jaxpr in jaxprs_in_params(params)]
    if name == "cond":
        return max(inside)
    return _times(name, params) * sum(inside)


def _times(name, params):
    """How often the body of an equation runs."""
    if name == "scan":
        return params["length"]
    if name == "shard_map":
        return params["mesh"].size  # every device runs it, on its share
    if name == "pallas_call":
        return math.prod(params["grid_mapping"].grid)
    return 1
