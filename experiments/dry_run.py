"""What a training would be and cost: network, settings, FLOPs, memory, steps, before any of it.

The training step is compiled for the shapes of its arguments; nothing is loaded but, if a
folder is named, the images, and nothing is computed or written.
"""

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import data
from data.crop import random_crop
from experiments.trainer import dropout_seed, keeps_features, loss_of, pixel_weights
from reseg_jax import api, flops
from reseg_jax.files import config_json
from reseg_jax.training import step as training_step
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.trained import make_optimizer
from reseg_jax.training.workdir import About


class Images(NamedTuple):
    """How many images of which size (height, width): the largest if there are many."""

    size: tuple[int, int]
    train: int
    val: int
    source: str


_PUBLISHED = "as published; --data_dir looks at yours"

# From data/NAME/README.md. Horses and flowers have many sizes, of which these are in the middle;
# of the flowers' 680 and 340 images about those many have a trimap, as 846 of all 1360 do.
NOMINAL = {
    "camvid": Images((360, 480), 367, 101, _PUBLISHED),
    "weizmann_horse": Images((200, 250), 200, 28, _PUBLISHED),
    "oxford_flowers17": Images((500, 500), 423, 212, _PUBLISHED),
}


def image_sizes(settings: TrainSettings) -> Images:
    """The images of a training: those of `data_dir`, else the published ones, without a download.

    Raises:
      UserError: a folder is named and the dataset is not in it.
    """
    if settings.data_dir is None and settings.dataset in NOMINAL:
        return NOMINAL[settings.dataset]
    options = data.parse_options(settings.data_options)
    train, val = (
        data.load(settings.dataset, split, settings.data_dir, **options)
        for split in ("train", "val")
    )
    height, width = (max(side) for side in zip(*(e.label.shape for e in train), strict=True))
    return Images((height, width), len(train), len(val), "as loaded")


def describe(run: About, images: Images) -> str:
    """The text that --dry_run prints."""
    config, settings = run.config, run.settings
    batches = images.train / settings.batch_size
    steps = math.floor(batches) if settings.drop_last else math.ceil(batches)
    height, width = size = tuple(-(-side // settings.shrink) for side in images.size)
    step, state, batch, kept = _abstract(run, size, steps)
    lines = [
        f"network {type(config).__name__}, classes {', '.join(run.classes.names)}",
        f"labels by {run.classes.label_reading.describe(run.classes.names)}",
        *_fields(config),
        "training",
        *_fields(settings),
        "[in brackets: the default, if it is another]",
        "",
        f"data        {images.train} images to train on, {images.val} to validate, "
        f"{height}x{width} ({images.source})",
        f"parameters  {_parameters(state.variables)}",
        *_work(config, step, state, batch, size),
        f"epoch       {'at least ' if settings.buckets > 1 else ''}{steps:,} updates of "
        f"{settings.batch_size} images; at most {settings.epochs:,} epochs",
        f"memory      {_memory(step, state, batch, settings.accumulate)}",
    ]
    if kept:
        size = sum(math.prod(each.shape[1:]) * each.dtype.itemsize for each in kept.values())
        each = settings.copies
        count = images.train * each + images.val
        lines += [
            f"disk        at most {_mib(count * size)} of features: {count} images"
            f"{f', {each} for each to train on,' if each > 1 else ''} of {_mib(size)}"
        ]
    return "\n".join(lines)


def _abstract(run, image_size, steps):
    """(training step, its state, its batch, the maps that are kept) as shapes only."""
    config, settings = run.config, run.settings
    network = api.build(config)

    def start(key):
        variables = network.init(key)
        return training_step.create_state(variables, make_optimizer(run, variables, steps))

    state = _everywhere(jax.eval_shape(start, jax.random.key(settings.seed)))
    count = settings.batch_size
    inputs = jax.ShapeDtypeStruct((count, *image_size, 3), np.uint8)
    label = jax.ShapeDtypeStruct((count, *image_size), np.uint8)
    kept = {}
    if keeps_features(config, settings):
        maps = jax.eval_shape(network.features, state.variables, inputs)
        inputs = kept = {
            tap: jax.ShapeDtypeStruct(found.shape, settings.cache_dtype)
            for tap, found in maps.items()
        }
    if settings.crop < 1:
        upper_left = jax.vmap(lambda one, label: random_crop(None, one, label, settings.crop))
        inputs, label = jax.eval_shape(upper_left, inputs, label)
    weights = None if settings.class_balance == "none" else (1.0,) * config.outputs
    optimizer = make_optimizer(run, state.variables, steps)
    step = training_step.make_train_step(
        network.logits,
        optimizer,
        loss_of(config, settings, weights),
        dropout_seed(config, settings),
        settings.accumulate,
    )
    weight = jax.ShapeDtypeStruct((count,), np.float32)
    batch = {"image": inputs, "label": label, "weight": weight}
    if pixel_weights(settings):
        batch["pixel_weights"] = jax.ShapeDtypeStruct(label.shape, np.float32)
    return step, state, _everywhere(batch), kept


def _everywhere(tree):
    """What `reseg_jax.devices.everywhere` makes of the arrays, of their shapes."""
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        return tree
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), tree
    )


def _fields(ours) -> Iterator[str]:
    """A line for every field, the default after it in brackets if it is another."""
    defaults = config_json.flat(type(ours)())
    for name, value in config_json.flat(ours).items():
        default = defaults.get(name)
        # The dataset brings the number of classes: it is no choice.
        other = value != default and name in defaults and name != "num_classes"
        yield f"  {name:<24} {value}" + (f"  [{default}]" if other else "")


def _parameters(variables):
    trained, frozen = (
        sum(leaf.size for leaf in jax.tree.leaves(variables.get(part, {})))
        for part in ("params", "frozen")
    )
    return f"{trained:,} trained, {frozen:,} frozen"


def _work(config, step, state, batch, image_size):
    image = jax.ShapeDtypeStruct((1, *image_size, 3), np.uint8)
    features = functools.partial(api.features, config)
    below = flops.count(features, state.variables, image)
    whole = flops.count(functools.partial(api.apply, config), state.variables, image)
    update = flops.count(step, state, batch)
    yield (
        f"work        {whole / 1e9:,.3f} GFLOP per image forwards: {below / 1e9:,.3f} features, "
        f"{(whole - below) / 1e9:,.3f} above them"
    )
    yield f"            {update / 1e9:,.3f} GFLOP per update"


def _memory(step, state, batch, parts):
    found = step.lower(state, batch).compile().memory_analysis()
    if found is None:
        return "not reported by the compiler of these devices"
    where = f" on each of {jax.device_count()} devices" if jax.device_count() > 1 else ""
    in_parts = f" in {parts} parts" if parts > 1 else ""
    return (
        f"{_mib(found.temp_size_in_bytes)} to compute an update{in_parts}, "
        f"{_mib(found.argument_size_in_bytes)} for state and batch{where}"
    )


def _mib(count):
    return f"{count / 2**20:,.1f} MiB"
