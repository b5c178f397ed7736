"""From a network, settings and examples to a trained run in its workdir: what `train` does.

No flags here, so that a notebook or a test can train as the command does.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import optax

from data import Example
from data.augment import Augmented, Cropped
from data.batches import Batches, InMemory
from reseg_jax import api, labels
from reseg_jax.config import ReSegConfig
from reseg_jax.training import loop, losses, step
from reseg_jax.training.feature_cache import CachedFeatures, FeatureCache
from reseg_jax.training.progress import Progress
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.workdir import held


def learn(
    workdir: Path,
    config: ReSegConfig,
    settings: TrainSettings,
    variables: dict,
    train: Sequence[Example],
    val: Sequence[Example],
    cache: Path,
) -> list[dict]:
    """Train from `variables`, or from where the run in `workdir` stood; its history, see `fit`.

    workdir: as `runs.claim` leaves it. cache: the folder for features of the frozen VGG.
    """
    if keeps_features(config, settings):
        logits_fn, sources = _on_features(config, settings, variables, train, val, cache)
    else:
        logits_fn, sources = _on_images(config, settings, train, val)
    shown, val_source = sources
    if settings.crop < 1:
        shown = Cropped(shown, settings.seed, settings.crop)
    batches = Batches(
        shown,
        settings.batch_size,
        settings.seed,
        shuffle=True,
        flip=settings.flip and not settings.augments,  # `Augmented` mirrors its pictures itself
        drop_last=settings.drop_last,
        buckets=settings.buckets,
    )
    val_batches = Batches(
        val_source, min(settings.batch_size, len(val)), shuffle=False, buckets=settings.buckets
    )
    optimizer = settings.make_optimizer(config, batches.steps_per_epoch)
    class_weights = _class_weights(config, settings, train)
    train_step = make_train_step(config, settings, logits_fn, optimizer, class_weights)
    with held(workdir):
        return loop.fit(
            workdir,
            settings,
            step.create_state(variables, optimizer),
            train_step,
            step.make_predict_step(logits_fn, config.num_classes),
            batches,
            val_batches,
            config.num_classes,
        )


def make_train_step(
    config: ReSegConfig,
    settings: TrainSettings,
    logits_fn: Callable,
    optimizer: optax.GradientTransformation,
    class_weights: np.ndarray | None,
) -> Callable:
    """The training step that network and settings ask for; see `step.make_train_step`."""
    return step.make_train_step(
        logits_fn,
        optimizer,
        settings.l2,
        class_weights,
        settings.jaccard,
        void_class=config.num_classes if config.void_class else None,
        dropout_seed=settings.seed if config.dropout else None,
    )


def keeps_features(config: ReSegConfig, settings: TrainSettings) -> bool:
    """Whether an image has the same features in every epoch, and they are to be kept."""
    frozen = config.vgg_layer is not None and not config.finetune_vgg
    return frozen and settings.cache_features and settings.pictures > 0


def _on_images(config, settings, train, val):
    """The whole network, and the images."""

    def logits_fn(variables, images, size, dropout_key=None, inside=None):
        return api.apply(config, variables, images, dropout_key, _where_told(config, inside))

    return logits_fn, (_source(settings, train), InMemory(val))


def _on_features(config, settings, variables, train, val, directory):
    """The head as network, and features of the frozen VGG as its images."""
    cache = FeatureCache(config, variables, directory, settings.cache_dtype)
    sources = _source(settings, train), InMemory(val)
    missing = cache.missing(_pictures(settings, *sources))
    progress = Progress("features of the frozen VGG", len(missing))
    for image in missing:
        cache.read(image)
        progress.add(1)
    if missing:
        progress.say(f"features of {len(missing)} images kept, {progress.rate():.2f} images/s")

    def logits_fn(variables, features, size, dropout_key=None, inside=None):
        inside = _where_told(config, inside)
        return api.head(config, variables, features, size, dropout_key, inside)

    return logits_fn, [CachedFeatures(source, cache) for source in sources]


def _where_told(config, inside):
    """A network that sees the array's end all the same takes what pads an image as part of it."""
    return None if config.sees_end else inside


def _source(settings, train):
    """The training images as they are shown, but for `Batches`' mirroring."""
    if not settings.augments:
        return InMemory(train)
    return Augmented(
        train, settings.seed, settings.scale, settings.colour, settings.flip, settings.versions
    )


def _pictures(settings, train, val):
    """Every image that training and validation show."""
    for index in range(len(val)):
        yield val.get(index, False)[0]
    for index in range(len(train)):
        if settings.versions:
            yield from (train.get(index, False, epoch)[0] for epoch in range(settings.versions))
        else:
            yield from (train.get(index, bool(way))[0] for way in range(settings.pictures))


def _class_weights(config, settings, train):
    """[K], or [K + 1] where void is trained; None without balancing."""
    if settings.class_balance == "none":
        return None
    truths = (example.label for example in train)
    if config.void_class:
        truths = (np.asarray(labels.void_as_class(truth, config.num_classes)) for truth in truths)
    return losses.BALANCES[settings.class_balance](truths, config.outputs)
