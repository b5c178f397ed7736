"""One step of training, one pass of scoring: pure functions that know no network and no file.

A network is a `logits_fn(variables, inputs, size) -> logits [B, H, W, K]`: ReSeg on images, its
head on cached features, or any other. Inputs are [B, h, w, C], or a tuple of such, labels [B, H, W]
of that size. Where a batch says how much of each image is `reseg_jax.padding`, `logits_fn` is given
that by this name.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from reseg_jax.labels import likeliest, void_as_class
from reseg_jax.metrics import confusion_matrix
from reseg_jax.training import optimizers
from reseg_jax.training.losses import cross_entropy, l2_penalty, soft_jaccard

LogitsFn = Callable[..., jax.Array]


class TrainState(NamedTuple):
    """What training changes, and the frozen variables beside it."""

    variables: dict  # {"params": trained, "frozen": not}
    opt_state: optax.OptState
    step: jax.Array  # updates made


def create_state(variables: dict, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first update."""
    return TrainState(variables, optimizer.init(variables["params"]), jnp.zeros((), jnp.int32))


def make_train_step(
    logits_fn: LogitsFn,
    optimizer: optax.GradientTransformation,
    l2: float = 0.0,
    class_weights: np.ndarray | None = None,
    jaccard: float = 0.0,
    void_class: int | None = None,
    dropout_seed: int | None = None,
) -> Callable[[TrainState, dict], tuple[TrainState, jax.Array]]:
    """A jitted `(state, batch) -> (state, loss)`.

    batch: {"image" [B, h, w, C], "label" [B, H, W], "weight" [B]}, and "inside" [B, 2] where not
    all images fill the array. The loss is the mean over the batch's images, each weighted (0 for
    one that only fills the batch up), of the cross-entropy summed over the image's pixels, plus
    `l2` times the sum of squared kernels.

    jaccard: so much of `losses.soft_jaccard` is added to the cross-entropy, a pixel of each.
    void_class: train void as the class of this number; None leaves it out of the loss.
    dropout_seed: call `logits_fn` with a key more, drawn from this and the step.
    """

    def loss_fn(params, frozen, batch, step):
        label, weight = batch["label"], batch["weight"]
        keys = ()
        if dropout_seed is not None:
            keys = (jax.random.fold_in(jax.random.key(dropout_seed), step),)
        variables = {**frozen, "params": params}
        logits = logits_fn(variables, batch["image"], label.shape[1:], *keys, **_inside(batch))
        if void_class is not None:
            label = void_as_class(label, void_class)
        per_image = cross_entropy(logits, label, class_weights)
        loss = (per_image * weight).sum() / weight.sum() + l2 * l2_penalty(params)
        if jaccard:
            pixels = math.prod(label.shape[1:])
            loss += jaccard * pixels * soft_jaccard(logits, label, weight)
        return loss

    @jax.jit
    def train_step(state, batch):
        params = state.variables["params"]
        loss, gradients = jax.value_and_grad(loss_fn)(params, state.variables, batch, state.step)
        updates, opt_state = optimizer.update(gradients, state.opt_state, params)
        variables = {**state.variables, "params": optax.apply_updates(params, updates)}
        return TrainState(variables, opt_state, state.step + 1), loss

    return train_step


def averaged(state: TrainState) -> dict:
    """The variables to predict with: averaged ones where the optimiser keeps an average."""
    params = optimizers.averaged(state.opt_state, state.variables["params"])
    return {**state.variables, "params": params}


def make_predict_step(logits_fn: LogitsFn, num_classes: int) -> Callable:
    """A jitted `(variables, inputs, size, inside=) -> labels [B, H, W]` uint8: likeliest class."""

    def predict_step(variables, inputs, size, **inside):
        return likeliest(logits_fn(variables, inputs, size, **inside), num_classes)

    return jax.jit(predict_step, static_argnums=2)


def score(
    predict_step: Callable, variables: dict, batches: Iterable[dict], num_classes: int
) -> np.ndarray:
    """The confusion matrix [K + 1, K + 1] of `batches`.

    They are as `make_train_step` reads them, and "size" [B, 2] is the part of each image that
    counts: neither what pads it nor an image that only fills the batch up.
    """
    matrix = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for batch in batches:
        labels = batch["label"]
        size = labels.shape[1:]
        predicted = np.asarray(predict_step(variables, batch["image"], size, **_inside(batch)))
        for label, guess, (height, width) in zip(labels, predicted, batch["size"], strict=True):
            part = np.s_[:height, :width]
            matrix += confusion_matrix(label[part], guess[part], num_classes)
    return matrix


def _inside(batch):
    return {"inside": batch["inside"]} if "inside" in batch else {}


def first_bad_leaf(tree) -> str | None:
    """The path of the first array in `tree` that holds a NaN or an infinity; None if none does."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not jnp.isfinite(leaf).all():
            return jax.tree_util.keystr(path)
    return None
