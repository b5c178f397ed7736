"""Train ReSeg; the same command again goes on where a stopped run stood.

  python -m experiments.train
  python -m experiments.train --dataset=camvid --data_dir=DIR --vgg_weights=FILE

Every epoch is validated; the workdir gets run.json, metrics.jsonl, times.jsonl, the best and the
newest checkpoints and, at the end, pictures of validation images. A preset gives the network and
its training; flags change it, and --set changes any field of ReSegConfig or TrainSettings.
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np
from absl import flags

import data
from data.pipeline import Batches, InMemory
from experiments import command, presets
from reseg_jax import (
    fitting,
    inference,
    labels,
    losses,
    metrics,
    model,
    optimizers,
    pictures,
    runs,
    training,
    weights,
)
from reseg_jax.config import ReSegConfig
from reseg_jax.download import cache_dir
from reseg_jax.features import CachedFeatures, FeatureCache
from reseg_jax.progress import Progress
from reseg_jax.settings import CLASS_BALANCES, TrainSettings
from reseg_jax.sweep import GATES

_PRESET = flags.DEFINE_enum(
    "preset", None, list(presets.PRESETS), "what to train [the dataset's own]"
)
_DATASET = flags.DEFINE_enum("dataset", "toy", data.NAMES, "images and labels")
_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "folder of the dataset [$RESEG_DATA, else a download]"
)
_IMAGES = flags.DEFINE_string("images", None, "--dataset=folder: your images")
_LABELS = flags.DEFINE_string("labels", None, "--dataset=folder: their labels, names alike")
_CLASSES = flags.DEFINE_string("classes", None, "--dataset=folder: classes.json, names and colours")
_DATA_OPTIONS = flags.DEFINE_multi_string(
    "data_options", [], "name=value, as data/NAME/README.md tells"
)
_WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run [runs/PRESET]")
_EPOCHS = flags.DEFINE_integer("epochs", None, "passes over the training images", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", None, "images an update [5]", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", None, "of initialisation, order and flips [0]", lower_bound=0)
_OPTIMIZER = flags.DEFINE_enum("optimizer", None, optimizers.NAMES, "update rule [adadelta]")
_LEARNING_RATE = flags.DEFINE_float("learning_rate", None, "[the optimiser's customary one]")
_CLASS_BALANCE = flags.DEFINE_enum("class_balance", None, CLASS_BALANCES, "loss weights [none]")
_CELL = flags.DEFINE_enum("cell", None, list(GATES), "recurrent unit [gru]")
_VGG_WEIGHTS = flags.DEFINE_string(
    "vgg_weights", None, "ImageNet VGG-16: .npz, .pth, .safetensors, .h5 or .pkl [a download]"
)
_FINETUNE_VGG = flags.DEFINE_bool("finetune_vgg", None, "train the VGG as well [no]")
_CACHE_DIR = flags.DEFINE_string(
    "cache_dir", None, "folder for features of the frozen VGG [below ~/.cache/reseg_jax]"
)
_PICTURES = flags.DEFINE_integer("pictures", 8, "validation images to draw at the end")
_SET = flags.DEFINE_multi_string("set", [], "field=value of ReSegConfig or TrainSettings")


def preset_name() -> str:
    """What to train, by name."""
    return _PRESET.value or presets.default(_DATASET.value)


def configure() -> tuple[ReSegConfig, TrainSettings]:
    """Network and settings that the flags ask for."""
    fields = (_DATA_DIR, _EPOCHS, _BATCH_SIZE, _SEED, _OPTIMIZER, _LEARNING_RATE)
    fields += (_CLASS_BALANCE, _CELL, _FINETUNE_VGG)
    given = {flag.name: flag.value for flag in fields if flag.value is not None}
    if flags.FLAGS["dataset"].present:
        given["dataset"] = _DATASET.value
    paths = (_IMAGES, _LABELS, _CLASSES)
    options = [f"{flag.name}={Path(flag.value).resolve()}" for flag in paths if flag.value]
    if options or _DATA_OPTIONS.value:
        given["data_options"] = (*_DATA_OPTIONS.value, *options)
    return presets.build(preset_name(), given, _SET.value)


def main(_):
    config, settings = configure()
    workdir = Path(_WORKDIR.value or f"runs/{preset_name()}")
    options = data.parse_options(settings.data_options)
    classes = data.classes(settings.dataset, settings.data_dir, **options)
    config = dataclasses.replace(config, num_classes=len(classes.names), classes=classes)
    train = data.load(settings.dataset, "train", settings.data_dir, **options)
    val = data.load(settings.dataset, "val", settings.data_dir, **options)
    variables = model.init(config, jax.random.key(settings.seed))
    config, variables = weights.use_vgg_weights(config, variables, _VGG_WEIGHTS.value)
    runs.claim(workdir, config, settings, preset_name())

    if "frozen" in variables and settings.cache_features:
        logits_fn, sources = cached(config, settings, variables, train, val)
    else:
        sources = InMemory(train), InMemory(val)

        def logits_fn(variables, images, size, *dropout_key):
            return model.apply(config, variables, images, *dropout_key)

    batches = Batches(
        sources[0],
        settings.batch_size,
        settings.seed,
        shuffle=True,
        flip=settings.flip,
        drop_last=settings.drop_last,
        buckets=settings.buckets,
    )
    optimizer = settings.make_optimizer(config, batches.steps_per_epoch)
    history = fitting.fit(
        workdir,
        settings,
        training.create_state(variables, optimizer),
        training.make_train_step(
            logits_fn,
            optimizer,
            settings.l2,
            class_weights(config, settings, train),
            void_class=config.num_classes if config.void_class else None,
            dropout_seed=settings.seed if config.dropout else None,
        ),
        training.make_predict_step(logits_fn, config.num_classes),
        batches,
        Batches(
            sources[1],
            min(settings.batch_size, len(val)),
            shuffle=False,
            buckets=settings.buckets,
        ),
        config.num_classes,
    )
    best = fitting.best_epoch(history)
    print(f"validation, {len(val)} images, best epoch {best['epoch']} of {len(history)}")
    print(metrics.format_table(best["val"], classes))
    draw(workdir, val[: _PICTURES.value], classes)
    print(f"mIoU {100 * best['val']['miou']:.2f}")


def class_weights(config, settings, train):
    """[K], or [K + 1] where void is trained; None without balancing."""
    if settings.class_balance == "none":
        return None
    truths = (example.label for example in train)
    if config.void_class:
        truths = (np.asarray(labels.void_as_class(truth, config.num_classes)) for truth in truths)
    return losses.BALANCES[settings.class_balance](truths, config.outputs)


def draw(workdir, examples, classes):
    """Four-panel pictures of `examples` by the best checkpoint, in workdir/pictures."""
    run = runs.load_run(workdir)
    panels = (
        (name, image, label, inference.predict(run.config, run.variables, image))
        for name, image, label in examples
    )
    if pictures.write_panels(workdir / "pictures", panels, classes):
        print(f"pictures of validation images in {workdir / 'pictures'}")


def cached(config, settings, variables, train, val):
    """The head as network, and features of the frozen VGG as its images."""
    directory = Path(_CACHE_DIR.value or cache_dir() / "features")
    cache = FeatureCache(config, variables, directory, settings.cache_dtype)
    images = [example.image for example in (*train, *val)]
    if settings.flip:
        images += [example.image[:, ::-1] for example in train]
    missing = cache.missing(images)
    progress = Progress("features of the frozen VGG", len(missing))
    for image in missing:
        cache.read(image)
        progress.add(1)
    if missing:
        progress.say(f"features of {len(missing)} images kept, {progress.rate():.2f} images/s")

    def logits_fn(variables, features, size, *dropout_key):
        return model.head(config, variables, features, size, *dropout_key)

    return logits_fn, (CachedFeatures(train, cache), CachedFeatures(val, cache))


if __name__ == "__main__":
    command.run(main)
