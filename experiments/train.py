"""Train a network; the same command again goes on from where a stopped run stood.

  python -m experiments.train
  python -m experiments.train --dataset=camvid --data_dir=DIR --backbone_weights=FILE
  python -m experiments.train --network=unet --dataset=camvid
  python -m experiments.train --dataset=folder --images=DIR --labels=DIR --classes=FILE \
    --start_from=camvid

Every epoch is validated; the workdir gets run.json, metrics.jsonl, times.jsonl, the best and the
newest checkpoints and, at the end, pictures of validation images. A preset gives the network and
its training; flags change it, and --set changes any field of the network's config or of
TrainSettings, those of a part of it by a dotted name (backbone.trainable=true).
"""

import dataclasses
import sys
from pathlib import Path

import jax
from absl import flags

import data
from data import class_shares, manifest
from data.shrink import shrunk
from experiments import cli, data_flags, dry_run, presets, trainer
from reseg_jax import api, loading, metrics, networks
from reseg_jax.backbones import pretrained
from reseg_jax.drawing import panels
from reseg_jax.errors import UserError
from reseg_jax.files.download import cache_dir
from reseg_jax.inference import predict
from reseg_jax.labels import Classes, LabelReading
from reseg_jax.networks.base import NetworkConfig
from reseg_jax.padding import CommonSizes
from reseg_jax.recurrent.sweep import GATES
from reseg_jax.saving import Saved
from reseg_jax.training import loop, optimizers, signals
from reseg_jax.training.settings import CLASS_BALANCES, TrainSettings
from reseg_jax.training.trained import load_run
from reseg_jax.training.transfer import start_from
from reseg_jax.training.workdir import About, claim, describe, lock

_PRESET = flags.DEFINE_enum(
    "preset", None, list(presets.PRESETS), "what to train [the dataset's own]"
)
_NETWORK = flags.DEFINE_enum(
    "network",
    None,
    list(networks.NETWORKS),
    "a network by name, with its own training [the preset's]",
)
_DATASET = flags.DEFINE_enum("dataset", "toy", data.NAMES, "images and labels")
_DATA_OPTIONS = flags.DEFINE_multi_string(
    "data_options", [], "name=value, as data/NAME/README.md tells"
)
_WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run [runs/PRESET]")
_EPOCHS = flags.DEFINE_integer("epochs", None, "passes over the training images", lower_bound=1)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", None, "images an update [5]", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", None, "of initialization, order and flips [0]", lower_bound=0)
_OPTIMIZER = flags.DEFINE_enum("optimizer", None, optimizers.NAMES, "update rule [adadelta]")
_LEARNING_RATE = flags.DEFINE_float("learning_rate", None, "[the optimizer's customary one]")
_CLASS_BALANCE = flags.DEFINE_enum("class_balance", None, CLASS_BALANCES, "loss weights [none]")
_CELL = flags.DEFINE_enum("cell", None, list(GATES), "recurrent unit of sweeps [gru]")
_BACKBONE_WEIGHTS = flags.DEFINE_string(
    "backbone_weights",
    None,
    "ImageNet's: of a VGG-16 .npz, .pth, .safetensors or .h5 [a download], of a ResNet .pth or "
    ".safetensors [random]",
)
flags.DEFINE_alias("vgg_weights", "backbone_weights")
_START_FROM = flags.DEFINE_string(
    "start_from", None, "trained network to begin with: camvid, a workdir or reseg_jax.save's file"
)
_FINETUNE_VGG = flags.DEFINE_bool("finetune_vgg", None, "train the backbone as well [no]")
_CACHE_DIR = flags.DEFINE_string(
    "cache_dir", None, "folder for features of a frozen backbone [below ~/.cache/reseg_jax]"
)
_SAVE_MINUTES = flags.DEFINE_float(
    "save_minutes", 5.0, "save at least this often, also within an epoch", lower_bound=0.0
)
_PICTURES = flags.DEFINE_integer("pictures", 8, "validation images to draw at the end")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "print what the training would be, and stop")
_SET = flags.DEFINE_multi_string("set", [], "field=value of the network or TrainSettings")
_ALLOW_MISSING_CLASSES = flags.DEFINE_bool(
    "allow_missing_classes", False, "train although a class has no pixel in the training images"
)
flags.adopt_module_key_flags(data_flags)
flags.adopt_module_key_flags(cli)


def preset() -> tuple[str, presets.Preset]:
    """What to train, and its name."""
    if _NETWORK.value and not _PRESET.value:
        name = f"{_DATASET.value}_{_NETWORK.value}"
        return name, presets.of_network(_NETWORK.value, _DATASET.value)
    name = _PRESET.value or presets.default(_DATASET.value)
    found = presets.PRESETS[name]
    if _NETWORK.value and _NETWORK.value != networks.name_of(found.config):
        raise UserError(
            f"--network={_NETWORK.value}: --preset={name} trains "
            f"{networks.name_of(found.config)}: leave one of the two flags out"
        )
    return name, found


def configure(
    preset: presets.Preset, network: NetworkConfig | None = None
) -> tuple[NetworkConfig, TrainSettings]:
    """Network, `network` in place of the preset's, and settings that the flags ask for."""
    fields = (
        data_flags.DATA_DIR,
        _EPOCHS,
        _BATCH_SIZE,
        _SEED,
        _OPTIMIZER,
        _LEARNING_RATE,
        _START_FROM,
    )
    fields += (_CLASS_BALANCE, _CELL, _FINETUNE_VGG)
    given = {flag.name: flag.value for flag in fields if flag.value is not None}
    if flags.FLAGS["dataset"].present:
        given["dataset"] = _DATASET.value
    if options := data_flags.options(_DATA_OPTIONS.value):
        given["data_options"] = options
    return presets.build(preset, given, _SET.value, network)


def main(_):
    with signals.watched() as stop:
        start(stop)


def start(stop: signals.Stop) -> None:
    """Find out what to train, keep others out of its folder, and do it."""
    name, chosen = preset()
    config, settings = configure(chosen)
    trained = None
    if settings.start_from:
        trained = load_trained(settings.start_from)
        config, _ = configure(chosen, at_stage(trained.config, chosen.config))
    workdir = Path(_WORKDIR.value or f"runs/{name}")
    options = data.parse_options(settings.data_options)
    place = (settings.dataset, settings.data_dir)
    classes = data.classes(*place, known_reading(workdir), **options)
    config = dataclasses.replace(config, num_classes=len(classes.names))
    if _DRY_RUN.value:
        images = dry_run.image_sizes(settings)
        print(dry_run.describe(About(config, settings, classes), images))
        return
    # Before anything is loaded or written: a second training in a folder is refused at once.
    with lock(workdir):
        run(workdir, name, About(config, settings, classes), trained, stop)


def run(workdir: Path, name: str, about: About, trained: Saved | None, stop: signals.Stop) -> None:
    """Load, train, score and draw.

    Args:
      workdir: of the run, locked.
      name: of the preset.
      about: the run.
      trained: the network to begin with, or None.
      stop: tells of signals.
    """
    config, settings, classes = about
    place, options = (
        (settings.dataset, settings.data_dir),
        data.parse_options(settings.data_options),
    )
    train, val = (
        data.load(settings.dataset, split, settings.data_dir, classes.reading, **options)
        for split in ("train", "val")
    )
    train, val = ([shrunk(each, settings.shrink) for each in split] for split in (train, val))
    show_classes(train, val, classes)
    variables = api.init(config, jax.random.key(settings.seed))
    if trained:
        new = () if same_classes(config, classes, trained) else config.class_layers
        names = config.begins_as(trained.config)
        variables = start_from(variables, trained.variables, new, names)
    else:
        config, variables = pretrained.use_weights(config, variables, _BACKBONE_WEIGHTS.value)
    about = about._replace(config=config)
    pairs = data.pairs(*place, **options) or {}
    files = manifest.compare(workdir, {split: pairs[split] for split in pairs if split != "test"})
    claim(workdir, about, name)
    manifest.write(workdir, files)

    cache = Path(_CACHE_DIR.value or cache_dir() / "features")
    history = trainer.train(workdir, about, variables, train, val, cache, _SAVE_MINUTES.value, stop)
    best = loop.best_epoch(history)
    print(f"validation, {len(val)} images, best epoch {best['epoch']} of {len(history)}")
    print(metrics.format_table(best["val"], classes))
    draw(workdir, val[: _PICTURES.value], classes)
    print(f"mIoU {100 * best['val']['miou']:.2f}")


def known_reading(workdir: Path) -> LabelReading | None:
    """How the run in `workdir` reads label files, if there is one that says so."""
    if not (workdir / "run.json").exists():
        return None
    classes = describe(workdir).classes
    return classes and classes.reading


def show_classes(train: list[data.Example], val: list[data.Example], classes: Classes) -> None:
    """Prints how labels are read and how often classes occur; refuses what cannot be learned."""
    print(f"labels: {classes.label_reading.describe(classes.names)}", file=sys.stderr)
    pixels = {}
    for split, examples in (("train", train), ("val", val)):
        pixels[split] = class_shares.count_pixels(examples, len(classes.names))
        line = class_shares.describe(split, len(examples), pixels[split], classes)
        print(line, file=sys.stderr)
    class_shares.check(pixels, classes, _ALLOW_MISSING_CLASSES.value)


def load_trained(start: str) -> Saved:
    """The network to begin with."""
    if Path(start).is_dir() and _BACKBONE_WEIGHTS.value:
        raise UserError(f"--backbone_weights: the run in {start} has its own, leave them out")
    return loading.load_saved(start, _BACKBONE_WEIGHTS.value)


def at_stage(trained: NetworkConfig, wanted: NetworkConfig) -> NetworkConfig:
    """A trained network at the stage of its training that a --preset names, if one is given."""
    if not _PRESET.value or type(trained) is not type(wanted):
        return trained
    fields = {name: getattr(wanted, name) for name in wanted.stage_fields}
    return dataclasses.replace(trained, **fields)


def same_classes(config: NetworkConfig, classes: Classes, trained: Saved) -> bool:
    """Whether a trained classifier is one for these classes, by number and name."""
    if config.outputs != trained.config.outputs:
        return False
    return trained.classes is None or trained.classes.names == classes.names


def draw(workdir, examples, classes):
    """Four-panel pictures of `examples` by the best checkpoint, in workdir/pictures."""
    run = load_run(workdir)
    sizes = CommonSizes(run.config.exact_padding)

    def drawn():
        for name, image, label in examples:
            padded_size = sizes.holding(label.shape)
            labels = predict.predict(run.config, run.variables, image, padded_size=padded_size)
            yield name, image, label, labels

    if panels.write_panels(workdir / "pictures", drawn(), classes):
        print(f"pictures of validation images in {workdir / 'pictures'}")


if __name__ == "__main__":
    cli.run(main)
