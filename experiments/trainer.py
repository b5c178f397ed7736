"""From a network, settings and examples to a trained run in its workdir: what `train` does.

No flags here, so that a notebook or a test can train as the command does.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from data import Example
from data.augment import Augmented, random_changes
from data.batches import Batches, InMemory, Source
from data.border_weights import border_weights
from data.crop import Cropped
from reseg_jax import api, overlap
from reseg_jax.labels import void_as_class
from reseg_jax.networks.base import NetworkConfig
from reseg_jax.training import loop, step
from reseg_jax.training.class_balance import BALANCES
from reseg_jax.training.feature_cache import CachedFeatures, FeatureCache
from reseg_jax.training.losses import Loss
from reseg_jax.training.progress import Progress
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.signals import Stop
from reseg_jax.training.trained import make_optimizer
from reseg_jax.training.workdir import About


def train(
    workdir: Path,
    run: About,
    variables: dict,
    train: Sequence[Example],
    val: Sequence[Example],
    cache: Path,
    save_minutes: float = 5.0,
    stop: Stop | None = None,
) -> list[dict]:
    """Train a network, or go on where the run in `workdir` stood.

    Args:
      workdir: as `workdir.claim` leaves it, under the caller's `workdir.lock`.
      run: network, settings and classes.
      variables: to begin with.
      train: examples to train on, smaller already if `settings.shrink` asks for that.
      val: examples to validate on, likewise.
      cache: the folder for features of a frozen backbone.
      save_minutes: the longest time between two checkpoints.
      stop: tells of signals.

    Returns:
      The history, a dict per epoch; see `loop.fit`.
    """
    config, settings = run.config, run.settings
    sources = [_source(settings, train), InMemory(val)]
    if keeps_features(config, settings):
        sources = _kept(config, settings, variables, sources, cache)
    train_source, val_source = sources
    if settings.crop < 1:
        train_source = Cropped(train_source, settings.seed, settings.crop)
    batches = Batches(
        train_source,
        settings.batch_size,
        settings.seed,
        shuffle=True,
        flip=settings.flip and not settings.augments,  # `Augmented` mirrors its copies itself
        drop_last=settings.drop_last,
        buckets=settings.buckets,
        pixel_weights=pixel_weights(settings),
    )
    val_batches = Batches(
        val_source, min(settings.batch_size, len(val)), shuffle=False, buckets=settings.buckets
    )
    network = api.build(config)
    optimizer = make_optimizer(run, variables, batches.steps_per_epoch)
    loss_fn, seed = make_loss(config, settings, train), dropout_seed(config, settings)
    return loop.fit(
        workdir,
        settings,
        step.create_state(variables, optimizer),
        step.make_train_step(network.logits, optimizer, loss_fn, seed, settings.accumulate),
        step.make_predict_step(network.logits, config.num_classes),
        batches,
        val_batches,
        config.num_classes,
        save_minutes,
        stop,
    )


def keeps_features(config: NetworkConfig, settings: TrainSettings) -> bool:
    """Whether an image has the same features in every epoch, and they are to be kept."""
    return config.frozen and settings.cache_features and settings.copies > 0


def dropout_seed(config: NetworkConfig, settings: TrainSettings) -> int | None:
    """Of what is dropped in training; None if nothing is."""
    return settings.seed if config.uses_dropout else None


def make_loss(config: NetworkConfig, settings: TrainSettings, train: Sequence[Example]) -> Loss:
    """The loss that network and settings ask for; the class weights are those of `train`."""
    weights = None
    if settings.class_balance != "none":
        truths = (example.label for example in train)
        if config.void_class:
            truths = (np.asarray(void_as_class(truth, config.num_classes)) for truth in truths)
        balance = BALANCES[settings.class_balance]
        weights = tuple(map(float, balance(truths, config.outputs)))
    return loss_of(config, settings, weights)


def loss_of(
    config: NetworkConfig, settings: TrainSettings, class_weights: tuple[float, ...] | None
) -> Loss:
    """The loss that network and settings ask for, with given class weights."""
    return Loss(
        l2=settings.l2,
        class_weights=class_weights,
        jaccard=settings.jaccard,
        void_class=config.num_classes if config.void_class else None,
        auxiliary=settings.auxiliary,
        bootstrap=settings.bootstrap,
    )


def pixel_weights(settings: TrainSettings) -> Callable[[np.ndarray], np.ndarray] | None:
    """What computes weights of a label's pixels beside those of their classes, or None."""
    if not settings.border_weight:
        return None
    return functools.partial(border_weights, peak=settings.border_weight)


def _kept(config, settings, variables, sources, directory):
    """The sources with features of the frozen backbone in place of images; computed if missing."""
    cache = FeatureCache(config, variables, directory, settings.cache_dtype)
    cache.remove_abandoned()
    images = overlap.ahead(lambda get: get()[0], _all_examples(settings, *sources))
    missing = cache.missing(images)
    progress = Progress("features of the frozen backbone", len(missing))
    for count in cache.keep(missing):
        progress.add(count)
    if missing:
        progress.say(f"features of {len(missing)} images kept, {progress.rate():.2f} images/s")
    return [CachedFeatures(source, cache) for source in sources]


def _source(settings, train) -> Source:
    """The training images as the epochs see them, but for `Batches`' mirroring."""
    if not settings.augments:
        return InMemory(train)
    return Augmented(
        InMemory(train),
        settings.seed,
        random_changes(**settings.augmentation),
        settings.flip,
        settings.num_augmented_copies,
    )


def _all_examples(settings, train, val) -> Iterator[Callable[[], tuple[np.ndarray, np.ndarray]]]:
    """Functions that get every example that training and validation read."""
    for index in range(len(val)):
        yield functools.partial(val.get, index)
    for index in range(len(train)):
        if settings.augments:
            for epoch in range(settings.copies):
                yield functools.partial(train.get, index, epoch)
        else:
            for flipped in (False, True) if settings.flip else (False,):
                yield functools.partial(train.get, index, flipped=flipped)
