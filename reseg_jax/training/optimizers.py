"""Optimizers by name, the paper's Adadelta and optax's own; schedules; averaged weights."""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

# name -> (optax constructor, learning rate if none is given). Adadelta: learning rate, rho
# and eps of the released run; optax's own defaults are rho 0.9 and no learning rate at all,
# with which it climbs. The other rates are customary ones; SGD's is our choice.
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
SCHEDULES = ("constant", "cosine", "poly")


def make(
    name: str, learning_rate: float | optax.Schedule | None = None, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """An optimizer by name.

    Adadelta (Zeiler 2012): a = rho a + (1 - rho) g^2; d = g sqrt(s + eps) / sqrt(a + eps);
    p = p - rate d; s = rho s + (1 - rho) d^2, from a = s = 0.

    Args:
      name: one of `NAMES`.
      learning_rate: a number, or an optax schedule; None takes `default_learning_rate`.
      weight_decay: for "adamw" only, and there of kernels only (Loshchilov and Hutter 2019).
    """
    maker, default = _MAKERS[name]
    kernels = functools.partial(_are, "kernel")
    decay = {"weight_decay": weight_decay, "mask": kernels} if name == "adamw" else {}
    return maker(default if learning_rate is None else learning_rate, **decay)


def schedule(name: str, peak: float, steps: int, warmup: int = 0) -> float | optax.Schedule:
    """The learning rate at each of `steps`: "constant", a half cosine from `peak` to 0, or "poly".

    "poly" is peak (1 - t / steps)^0.9. The first `warmup` steps climb from 0 to `peak` in a line
    (Goyal et al. 2017).
    """
    if name == "constant" and not warmup:
        return peak
    after = {
        "constant": optax.constant_schedule(peak),
        "cosine": optax.cosine_decay_schedule(peak, max(1, steps - warmup)),
        # Power 0.9: Liu et al. 2015 ("ParseNet"), then DeepLab and PSPNet.
        "poly": optax.polynomial_schedule(peak, 0.0, 0.9, max(1, steps - warmup)),
    }[name]
    if not warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def default_learning_rate(name: str) -> float:
    """The learning rate that `make` takes if none is given."""
    return _MAKERS[name][1]


def scale_updates(
    optimizer: optax.GradientTransformation, factors: Mapping[str, float]
) -> optax.GradientTransformation:
    """`optimizer` with a learning rate for each group of parameters.

    Args:
      optimizer: the update rule of all parameters.
      factors: {group: factor} that multiplies the group's updates; a group is the first name of a
        parameter's path, "vgg" or "classifier" for example.
    """

    def group(path, _):
        return path[0].key if path[0].key in factors else ""

    rates = {name: optax.scale(factor) for name, factor in factors.items()}
    return optax.chain(
        optimizer,
        optax.partition(
            rates | {"": optax.identity()},
            lambda params: jax.tree_util.tree_map_with_path(group, params),
        ),
    )


def scale_biases(
    optimizer: optax.GradientTransformation, factor: float
) -> optax.GradientTransformation:
    """`optimizer` whose updates of biases are multiplied by `factor`, of whatever group they are.

    FCN's biases learn twice as fast as its kernels (Long et al. 2015, section 4.3).
    """
    return optax.chain(
        optimizer, optax.masked(optax.scale(factor), functools.partial(_are, "bias"))
    )


class Averaged(NamedTuple):
    """State of `averaging`: the optimizer's own, and the averaged parameters."""

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
    """The averaged parameters if `averaging` keeps them, else `params` themselves."""
    return opt_state.average if isinstance(opt_state, Averaged) else params


def _are(name, params):
    """A tree of whether each parameter is called `name`, or something that ends in it."""

    def is_one(path, _):
        return jax.tree_util.keystr(path, simple=True).endswith(name)

    return jax.tree_util.tree_map_with_path(is_one, params)
