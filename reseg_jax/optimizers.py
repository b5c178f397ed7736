"""Optimisers by name: the paper's Adadelta, and optax's own beside it."""

import optax

# name -> (optax constructor, learning rate where none is given). Adadelta: learning rate, rho
# and eps of the released run; optax's own defaults are rho 0.9 and no learning rate at all,
# with which it climbs. The other rates are customary ones; SGD's is ours.
_MAKERS = {
    "adadelta": (lambda rate: optax.adadelta(rate, rho=0.95, eps=1e-6), 1.0),
    "adam": (optax.adam, 1e-3),
    "nadam": (optax.nadam, 1e-3),
    "adagrad": (optax.adagrad, 1e-2),
    "rmsprop": (optax.rmsprop, 1e-3),
    "sgd": (optax.sgd, 1e-6),  # small, since the loss is a sum over the pixels
}
NAMES = tuple(_MAKERS)


def make(name: str, learning_rate: float | None = None) -> optax.GradientTransformation:
    """The optimiser `name` of `NAMES`; `learning_rate` None takes its customary one.

    Adadelta (Zeiler 2012): a = rho a + (1 - rho) g^2; d = g sqrt(s + eps) / sqrt(a + eps);
    p = p - rate d; s = rho s + (1 - rho) d^2, from a = s = 0.
    """
    maker, customary = _MAKERS[name]
    return maker(customary if learning_rate is None else learning_rate)
