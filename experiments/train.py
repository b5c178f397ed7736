"""Train ReSeg; the same command again goes on where a stopped run stood.

  python -m experiments.train
  python -m experiments.train --dataset=camvid --data_dir=DIR --vgg_weights=FILE
  python -m experiments.train --dataset=folder --images=DIR --labels=DIR --classes=FILE \
    --start_from=camvid

Every epoch is validated; the workdir gets run.json, metrics.jsonl, times.jsonl, the best and the
newest checkpoints and, at the end, pictures of validation images. A preset gives the network and
its training; flags change it, and --set changes any field of ReSegConfig or TrainSettings.
"""

import dataclasses
from pathlib import Path

import jax
from absl import flags

import data
from experiments import cli, dry_run, presets, trainer
from reseg_jax import api, metrics, saving
from reseg_jax.backbones import pretrained
from reseg_jax.canvas import Canvases
from reseg_jax.config import ReSegConfig
from reseg_jax.drawing import panels
from reseg_jax.errors import UserError
from reseg_jax.files.download import cache_dir
from reseg_jax.inference import predict
from reseg_jax.recurrent.sweep import GATES
from reseg_jax.training import loop, optimizers
from reseg_jax.training.settings import CLASS_BALANCES, TrainSettings
from reseg_jax.training.transfer import start_from
from reseg_jax.training.workdir import claim, load_run

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
_START_FROM = flags.DEFINE_string(
    "start_from", None, "trained network to begin with: camvid, a workdir or reseg_jax.save's file"
)
_FINETUNE_VGG = flags.DEFINE_bool("finetune_vgg", None, "train the VGG as well [no]")
_CACHE_DIR = flags.DEFINE_string(
    "cache_dir", None, "folder for features of the frozen VGG [below ~/.cache/reseg_jax]"
)
_PICTURES = flags.DEFINE_integer("pictures", 8, "validation images to draw at the end")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "say what the training would be, and stop")
_SET = flags.DEFINE_multi_string("set", [], "field=value of ReSegConfig or TrainSettings")


def preset_name() -> str:
    """What to train, by name."""
    return _PRESET.value or presets.default(_DATASET.value)


def configure(network: ReSegConfig | None = None) -> tuple[ReSegConfig, TrainSettings]:
    """Network, `network` in place of the preset's, and settings that the flags ask for."""
    fields = (_DATA_DIR, _EPOCHS, _BATCH_SIZE, _SEED, _OPTIMIZER, _LEARNING_RATE, _START_FROM)
    fields += (_CLASS_BALANCE, _CELL, _FINETUNE_VGG)
    given = {flag.name: flag.value for flag in fields if flag.value is not None}
    if flags.FLAGS["dataset"].present:
        given["dataset"] = _DATASET.value
    paths = (_IMAGES, _LABELS, _CLASSES)
    options = [f"{flag.name}={Path(flag.value).resolve()}" for flag in paths if flag.value]
    if options or _DATA_OPTIONS.value:
        given["data_options"] = (*_DATA_OPTIONS.value, *options)
    return presets.build(preset_name(), given, _SET.value, network)


def main(_):
    config, settings = configure()
    if settings.start_from:
        trained_config, trained = load_trained(settings.start_from)
        config, _ = configure(trained_config)
    workdir = Path(_WORKDIR.value or f"runs/{preset_name()}")
    options = data.parse_options(settings.data_options)
    classes = data.classes(settings.dataset, settings.data_dir, **options)
    config = dataclasses.replace(config, num_classes=len(classes.names), classes=classes)
    if _DRY_RUN.value:
        images = dry_run.look(settings)
        print(dry_run.describe(config, settings, images, trainer.keeps_features(config, settings)))
        return
    train = data.load(settings.dataset, "train", settings.data_dir, **options)
    val = data.load(settings.dataset, "val", settings.data_dir, **options)
    variables = api.init(config, jax.random.key(settings.seed))
    if settings.start_from:
        variables = start_from(config, variables, trained_config, trained)
    else:
        config, variables = pretrained.use_vgg_weights(config, variables, _VGG_WEIGHTS.value)
    claim(workdir, config, settings, preset_name())

    cache = Path(_CACHE_DIR.value or cache_dir() / "features")
    history = trainer.learn(workdir, config, settings, variables, train, val, cache)
    best = loop.best_epoch(history)
    print(f"validation, {len(val)} images, best epoch {best['epoch']} of {len(history)}")
    print(metrics.format_table(best["val"], classes))
    draw(workdir, val[: _PICTURES.value], classes)
    print(f"mIoU {100 * best['val']['miou']:.2f}")


def load_trained(start: str) -> tuple[ReSegConfig, dict]:
    """Config and variables of the network to begin with."""
    if Path(start).is_dir() and _VGG_WEIGHTS.value:
        raise UserError(f"--vgg_weights: the run in {start} has its own, leave them out")
    return saving.load(start, _VGG_WEIGHTS.value)


def draw(workdir, examples, classes):
    """Four-panel pictures of `examples` by the best checkpoint, in workdir/pictures."""
    run = load_run(workdir)
    canvases = Canvases(run.config)

    def drawn():
        for name, image, label in examples:
            canvas = canvases.holding(label.shape)
            labels = predict.predict(run.config, run.variables, image, canvas=canvas)
            yield name, image, label, labels

    if panels.write_panels(workdir / "pictures", drawn(), classes):
        print(f"pictures of validation images in {workdir / 'pictures'}")


if __name__ == "__main__":
    cli.run(main)
