"""One step of training, one pass of scoring: pure functions that know no network and no file.

A network is `logits_fn(variables, inputs, size, *, train=False, dropout_key=None, valid_size=None,
weight=None)`, as `reseg_jax.api.build` gives it. Inputs are images [B, H, W, 3] or maps
{tap: [B, h, w, C]}, labels [B, H, W] of the images' size. A batch is a dict {"image": inputs,
"label", "weight" [B]}, with "valid_size" [B, 2] (`reseg_jax.padding`) if not all images fill the
array, and "pixel_weights" [B, H, W] if pixels have weights of their own.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from reseg_jax import devices
from reseg_jax.labels import likeliest
from reseg_jax.metrics import confusion_matrix
from reseg_jax.training import accumulation, optimizers

LogitsFn = Callable[..., jax.Array | tuple[jax.Array, dict]]


class TrainState(NamedTuple):
    """What training changes, and the frozen variables beside it."""

    variables: dict  # {"params": trained, "frozen": not, "batch_stats": running statistics}
    opt_state: optax.OptState
    step: jax.Array  # updates made


def create_state(variables: dict, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first update."""
    return TrainState(variables, optimizer.init(variables["params"]), jnp.zeros((), jnp.int32))


def make_train_step(
    logits_fn: LogitsFn,
    optimizer: optax.GradientTransformation,
    loss_fn: Callable[..., jax.Array],
    dropout_seed: int | None = None,
    parts: int = 1,
) -> Callable[[TrainState, dict], tuple[TrainState, jax.Array]]:
    """A jitted update.

    Args:
      logits_fn: the network.
      optimizer: the update rule.
      loss_fn: `(logits, labels, weight, params, auxiliary, *, pixel_weights) -> scalar`, as
        `losses.Loss`.
      dropout_seed: drop at random, by a key drawn from this and the step; None drops nothing.
      parts: compute a batch in so many parts, one after another, in the memory of one. The update
        is the same, but for batch normalization, whose statistics are those of a part, and for
        what is dropped. `loss_fn` must be a `losses.Loss`, without `jaccard`.

    Returns:
      `(state, batch) -> (state, loss)`.
    """

    def loss_of(params, others, batch, key, loss_fn):
        label, weight = batch["label"], batch["weight"]
        logits, updates = logits_fn(
            {**others, "params": params},
            batch["image"],
            label.shape[1:],
            train=True,
            dropout_key=key,
            valid_size=batch.get("valid_size"),
            weight=weight,
        )
        loss = loss_fn(
            *(logits, label, weight, params, updates.get("aux")),
            pixel_weights=batch.get("pixel_weights"),
        )
        return loss, {name: tree for name, tree in updates.items() if name != "aux"}

    gradients_of = jax.value_and_grad(loss_of, has_aux=True)

    def at_once(variables, batch, key):
        return gradients_of(variables["params"], variables, batch, key, loss_fn)

    def in_parts(variables, batch, key):
        params, total = variables["params"], batch["weight"].sum()

        def loss_of_part(logits, label, weight, _, auxiliary, pixel_weights):
            return loss_fn(logits, label, weight, None, auxiliary, total, pixel_weights)

        def of_part(statistics, part, number):
            part_key = None if key is None else jax.random.fold_in(key, number)
            return gradients_of(params, {**variables, **statistics}, part, part_key, loss_of_part)

        statistics = {name: variables[name] for name in ("batch_stats",) if name in variables}
        (loss, changed), gradients = accumulation.in_parts(of_part, statistics, batch, parts)
        penalty, more = jax.value_and_grad(loss_fn.of_params)(params)
        return (loss + penalty, changed), jax.tree.map(jnp.add, gradients, more)

    @jax.jit
    def train_step(state, batch):
        params, key = state.variables["params"], None
        if dropout_seed is not None:
            key = jax.random.fold_in(jax.random.key(dropout_seed), state.step)
        compute = at_once if parts == 1 else in_parts
        (loss, changed), gradients = compute(state.variables, batch, key)
        updates, opt_state = optimizer.update(gradients, state.opt_state, params)
        variables = {**state.variables, **changed, "params": optax.apply_updates(params, updates)}
        return TrainState(variables, opt_state, state.step + 1), loss

    return train_step


def averaged(state: TrainState) -> dict:
    """The variables to predict with: averaged ones if the optimizer keeps an average."""
    params = optimizers.averaged(state.opt_state, state.variables["params"])
    return {**state.variables, "params": params}


def make_predict_step(logits_fn: LogitsFn, num_classes: int) -> Callable:
    """A jitted `(variables, inputs, size, valid_size=None) -> labels [B, H, W]`, uint8."""

    def predict_step(variables, inputs, size, valid_size=None):
        logits = logits_fn(variables, inputs, size, valid_size=valid_size)
        return likeliest(logits, num_classes)

    return jax.jit(predict_step, static_argnums=2)


def score(
    predict_step: Callable, variables: dict, batches: Iterable[dict], num_classes: int
) -> np.ndarray:
    """The confusion matrix of `batches`.

    Args:
      predict_step: as from `make_predict_step`.
      variables: of the network.
      batches: with "size" [B, 2] beside what training reads: the part of each image that counts,
        which is neither what pads it nor an image that only fills the batch up.
      num_classes: K.

    Returns:
      int64 [K + 1, K + 1], see `reseg_jax.metrics`.
    """
    matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for batch in batches:
        labels = batch["label"]
        predicted = jax.device_get(
            predict_step(variables, batch["image"], labels.shape[1:], batch.get("valid_size"))
        )
        for label, guess, (height, width) in zip(labels, predicted, batch["size"], strict=True):
            part = np.s_[:height, :width]
            matrix += confusion_matrix(label[part], guess[part], num_classes)
    return matrix


def first_bad_leaf(tree) -> str | None:
    """The path of the first array in `tree` that holds a NaN or an infinity; None if none does."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not jnp.isfinite(leaf).all():
            return jax.tree_util.keystr(path)
    return None


def first_bad(state: TrainState) -> str | None:
    """What is not finite in a state, in words, or None; the frozen part never changes."""
    trained = {name: tree for name, tree in state.variables.items() if name != "frozen"}
    if bad := first_bad_leaf(trained):
        return f"parameter {bad}"
    bad = first_bad_leaf(state.opt_state)
    return bad and f"the optimizer's state {bad}"


def is_finite(state: TrainState) -> bool:
    """Whether every number that training changes is finite."""
    return first_bad(devices.everywhere(state)) is None
