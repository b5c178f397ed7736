"""What a training would be and cost: network, settings, FLOPs, memory, steps, before any of it.

The training step is compiled for the shapes of its arguments; nothing is loaded but, where a
folder is named, the images, and nothing is computed or written.
"""

import dataclasses
import functools
import math
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import data
from data.augment import part
from experiments.trainer import make_train_step
from reseg_jax import api, flops
from reseg_jax.config import Classes, ReSegConfig
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.step import create_state


class Images(NamedTuple):
    """How many images of which size (height, width): the largest, where there are many."""

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


def look(settings: TrainSettings) -> Images:
    """The images of a training: those of `data_dir`, else the published ones, without a download.

    A UserError where a folder is named and the dataset is not in it.
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


def describe(config: ReSegConfig, settings: TrainSettings, images: Images, cached: bool) -> str:
    """The text that --dry_run prints.

    cached: the features of the frozen VGG are computed once and kept on disk.
    """
    batches = images.train / settings.batch_size
    steps = math.floor(batches) if settings.drop_last else math.ceil(batches)
    step, state, batch, features = _abstract(config, settings, images.size, cached, steps)
    height, width = images.size
    lines = [
        *_fields("network", config),
        *_fields("training", settings),
        "[in brackets: the default, where it is another]",
        "",
        f"data        {images.train} images to train on, {images.val} to validate, "
        f"{height}x{width} ({images.source})",
        f"parameters  {_parameters(state.variables)}",
        *_work(config, step, state, batch, images.size),
        f"epoch       {'at least ' if settings.buckets > 1 else ''}{steps:,} updates of "
        f"{settings.batch_size} images; at most {settings.epochs:,} epochs",
        f"memory      {_memory(step, state, batch)}",
    ]
    if cached:
        # A layer that is also joined later on is kept once.
        maps = dict(zip((config.vgg_layer, *config.skips), features, strict=True)).values()
        size = sum(math.prod(map.shape[1:]) * map.dtype.itemsize for map in maps)
        each = settings.pictures
        kept = images.train * each + images.val
        lines += [
            f"disk        {_mib(kept * size)} of features: {kept} images"
            f"{f', {each} for each to train on,' if each > 1 else ''} of {_mib(size)}"
        ]
    return "\n".join(lines)


def _abstract(config, settings, image_size, cached, steps):
    """(training step, its state, its batch, the features in it) as shapes, nothing of them real."""

    def start(key):
        return create_state(api.init(config, key), optimizer)

    def whole(variables, images, size, *dropout_key):
        return api.apply(config, variables, images, *dropout_key)

    optimizer = settings.make_optimizer(config, steps)
    state = _everywhere(jax.eval_shape(start, jax.random.key(settings.seed)))
    count = settings.batch_size
    inputs = jax.ShapeDtypeStruct((count, *image_size, 3), np.uint8)
    label = jax.ShapeDtypeStruct((count, *image_size), np.uint8)
    if cached:
        mapped = jax.eval_shape(functools.partial(api.features, config), state.variables, inputs)
        inputs = jax.tree.map(
            lambda map: jax.ShapeDtypeStruct(map.shape, settings.cache_dtype), mapped
        )
    kept = jax.tree.leaves(inputs)
    if settings.crop < 1:
        upper_left = jax.vmap(lambda inputs, label: part(None, inputs, label, settings.crop))
        inputs, label = jax.eval_shape(upper_left, inputs, label)
    logits_fn = functools.partial(api.head, config) if cached else whole
    weights = None if settings.class_balance == "none" else np.ones(config.outputs, np.float32)
    step = make_train_step(config, settings, logits_fn, optimizer, weights)
    batch = {
        "image": inputs,
        "label": label,
        "weight": jax.ShapeDtypeStruct((count,), np.float32),
    }
    return step, state, batch, kept


def _everywhere(tree):
    """What `reseg_jax.devices.everywhere` makes of the arrays, of their shapes."""
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        return tree
    whole = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), tree
    )


def _fields(title, ours):
    """A line for every field, the default behind it in brackets where it is another."""
    yield title
    for field in dataclasses.fields(ours):
        value, default = getattr(ours, field.name), field.default
        text = ", ".join(value.names) if isinstance(value, Classes) else str(value)
        # A dataset brings its own classes: they are no choice.
        other = repr(value) != repr(default) and not isinstance(value, Classes)
        yield f"  {field.name:<18} {text}" + (f"  [{default}]" if other else "")


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
        f"work        {whole / 1e9:,.3f} GFLOP an image forwards: {below / 1e9:,.3f} features, "
        f"{(whole - below) / 1e9:,.3f} above them"
    )
    yield f"            {update / 1e9:,.3f} GFLOP an update"


def _memory(step, state, batch):
    found = step.lower(state, batch).compile().memory_analysis()
    if found is None:
        return "not told by the compiler of these devices"
    where = f" on each of {jax.device_count()} devices" if jax.device_count() > 1 else ""
    return (
        f"{_mib(found.temp_size_in_bytes)} to compute an update, "
        f"{_mib(found.argument_size_in_bytes)} for state and batch{where}"
    )


def _mib(count):
    return f"{count / 2**20:,.1f} MiB"
