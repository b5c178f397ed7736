"""Optimisers by name, the paper's Adadelta and optax's own; schedules; averaged weights."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

# name -> (optax constructor, learning rate where none is given). Adadelta: learning rate, rho
# and eps of the released run; optax's own defaults are rho 0.9 and no learning rate at all,
# with which it climbs. The other rates are customary ones; SGD's is ours.
_MAKERS = {
    "adadelta": (lambda rate: optax.adadelta(rate, rho=0.95, eps=1e-6), 1.0),
    "adam": (optax.adam, 1e-3),
    "adamw": (optax.adamw, 1e-3),
    "nadam": (optax.nadam, 1e-3),
    "adagrad": (optax.adagrad, 1e-2),
    "rmsprop": (optax.rmsprop, 1e-3),
    "sgd": (optax.sgd, 1e-6),  # small, since the loss is a sum over the pixels
}
NAMES = tuple(_MAKERS)
SCHEDULES = ("constant", "cosine")


def make(
    name: str, learning_rate: float | optax.Schedule | None = None, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """The optimiser `name` of `NAMES`; `learning_rate` None takes its customary one.

    Adadelta (Zeiler 2012): a = rho a + (1 - rho) g^2; d = g sqrt(s + eps) / sqrt(a + eps);
    p = p - rate d; s = rho s + (1 - rho) d^2, from a = s = 0.

    learning_rate: a number, or an optax schedule.
    weight_decay: of "adamw" alone, and there of kernels alone (Loshchilov and Hutter 2019).
    """
    maker, customary = _MAKERS[name]
    decay = {"weight_decay": weight_decay, "mask": _kernels} if name == "adamw" else {}
    return maker(customary if learning_rate is None else learning_rate, **decay)


def schedule(name: str, peak: float, steps: int, warmup: int = 0) -> float | optax.Schedule:
    """The learning rate at each of `steps`: "constant", or a half cosine from `peak` to 0.

    The first `warmup` steps climb from 0 to `peak` in a line (Goyal et al. 2017).
    """
    if name == "cosine":
        after = optax.cosine_decay_schedule(peak, max(1, steps - warmup))
    else:
        after = optax.constant_schedule(peak)
    if not warmup:
        return after if name == "cosine" else peak
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def customary_rate(name: str) -> float:
    """The learning rate that `make` takes where none is given."""
    return _MAKERS[name][1]


def slower(
    optimizer: optax.GradientTransformation, top: str, factor: float
) -> optax.GradientTransformation:
    """`optimizer`, its updates of the parameters below `top` multiplied by `factor`."""

    def below(params):
        return jax.tree_util.tree_map_with_path(lambda path, _: path[0].key == top, params)

    return optax.chain(optimizer, optax.masked(optax.scale(factor), below))


class Averaged(NamedTuple):
    """State of `averaging`: the optimiser's own, and the averaged parameters."""

    inner: optax.OptState
    average: dict
    count: jax.Array


def averaging(
    optimizer: optax.GradientTransformation, decay: float
) -> optax.GradientTransformation:
    """`optimizer`, and beside it the exponential moving average of the parameters (Polyak).

    m = d m + (1 - d) p after every update, d = min(decay, (1 + n) / (10 + n)) at update n, so
    that the first, random parameters are soon forgotten. The parameters do not see the average.
    """

    def init(params):
        return Averaged(optimizer.init(params), params, jnp.zeros((), jnp.int32))

    def update(gradients, state, params):
        updates, inner = optimizer.update(gradients, state.inner, params)
        forget = 1 - jnp.minimum(decay, (1 + state.count) / (10 + state.count))
        newest = optax.apply_updates(params, updates)
        average = optax.incremental_update(newest, state.average, forget)
        return updates, Averaged(inner, average, state.count + 1)

    return optax.GradientTransformation(init, update)


def averaged(opt_state: optax.OptState, params: dict) -> dict:
    """The averaged parameters where `averaging` keeps them, else `params` themselves."""
    return opt_state.average if isinstance(opt_state, Averaged) else params


def _kernels(params):
    def is_kernel(path, _):
        return jax.tree_util.keystr(path, simple=True).endswith("kernel")

    return jax.tree_util.tree_map_with_path(is_kernel, params)
