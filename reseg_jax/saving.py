"""A network as one `.npz` file: its config as JSON, its parameters under their documented names.

A file may do without the VGG, which is public: a trained head is a few megabytes.
"""

import io
import json
import os
import zipfile
from functools import partial
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from reseg_jax import api
from reseg_jax.backbones import pretrained
from reseg_jax.config import ReSegConfig
from reseg_jax.errors import UserError
from reseg_jax.files import atomic, config_json

_CONFIG = "config"  # the one entry that is no parameter


TRAINED = Path(__file__).with_name("trained")
"""Heads that come with the package, NAME.npz each."""


def save(
    path: str | os.PathLike, config: ReSegConfig, variables: dict, head_only: bool = False
) -> None:
    """Write `config` and `variables` to `path`, an .npz that NumPy alone can read.

    Entries are named as the parameters are: `renet_0/vertical/forward/input_kernel`,
    `vgg/conv1_1/kernel`, ..., and `config` holds the JSON text.
    head_only: without the frozen VGG, and in float16.
    """
    arrays = {}
    for name, collection in variables.items():
        if not (head_only and name == "frozen"):
            arrays |= flatten_dict(collection, sep="/")
    if head_only:
        arrays = {name: np.asarray(array, np.float16) for name, array in arrays.items()}
    content = io.BytesIO()
    np.savez(content, **{_CONFIG: json.dumps(config_json.to_dict(config))}, **arrays)
    atomic.write_file(path, content.getvalue())


def load(
    path: str | os.PathLike, vgg_weights: str | os.PathLike | None = None
) -> tuple[ReSegConfig, dict]:
    """(config, variables) from a file that `save` wrote, or from a workdir's best checkpoint.

    path: the file, the workdir, or the name of a head that comes with the package.
    vgg_weights: for a file without its VGG, that VGG (`reseg_jax.use_vgg_weights`); without it,
        the one that the head was trained over is downloaded once.
    UserError where the file is not one, or a parameter is missing or has another shape than the
    config gives it, or where `vgg_weights` are of another kind.
    """
    if not Path(path).exists() and (TRAINED / f"{path}.npz").exists():
        path = TRAINED / f"{path}.npz"
    if Path(path).is_dir():
        from reseg_jax.training.workdir import load_run  # orbax takes two seconds to import

        run = load_run(path)
        return run.config, run.variables
    try:
        with np.load(io.BytesIO(atomic.read_file(path)), allow_pickle=False) as entries:
            arrays = dict(entries)
        config = config_json.from_dict(ReSegConfig, json.loads(str(arrays.pop(_CONFIG))))
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is no network saved by reseg_jax.save ({error}): save it again"
        ) from error
    variables = {}
    without_vgg = config.vgg_layer and not any(name.startswith("vgg/") for name in arrays)
    for collection, tree in jax.eval_shape(partial(api.init, config), jax.random.key(0)).items():
        if without_vgg and collection == "frozen":
            continue
        flat = {}
        for name, expected in flatten_dict(tree, sep="/").items():
            if name not in arrays:
                raise UserError(f"{path}: parameter {name} is missing")
            if arrays[name].shape != expected.shape:
                raise UserError(
                    f"{path}: parameter {name} has shape {arrays[name].shape}, "
                    f"the config needs {expected.shape}"
                )
            flat[name] = arrays[name].astype(expected.dtype)
        variables[collection] = unflatten_dict(flat, sep="/")
    return _with_vgg(path, config, variables, vgg_weights) if without_vgg else (config, variables)


def _with_vgg(path, config, variables, vgg_weights):
    if config.preprocessing not in pretrained.SOURCES and vgg_weights is None:
        raise UserError(f"{path} holds no VGG: give vgg_weights")
    source = pretrained.SOURCES.get(config.preprocessing, pretrained.KERAS)
    found, variables = pretrained.use_vgg_weights(config, variables, vgg_weights, source)
    if found.preprocessing != config.preprocessing:
        raise UserError(
            f"{path} was trained over VGG weights for {config.preprocessing} preprocessing, but "
            f"{vgg_weights} are for {found.preprocessing}: give the weights of {source.url}"
        )
    return config, variables
