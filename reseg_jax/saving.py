"""A network as data: its config by the network's name, and all of it as one `.npz` file.

A file may do without the pretrained backbone, which is public: a trained ReSeg head is a few
megabytes.
"""

import io
import json
import os
import zipfile
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from reseg_jax import api, networks
from reseg_jax.errors import UserError
from reseg_jax.files import atomic, config_json
from reseg_jax.labels import Classes
from reseg_jax.networks.base import NetworkConfig

_CONFIG, _CLASSES = "config", "classes"  # the entries of a file that are no parameters

OLD_NAMES = {
    "vgg_layer": "tap",
    "finetune_vgg": "backbone.trainable",
    "recompute": "execution.remat",
    "unroll": "execution.unroll",
    "implementation": "execution.implementation",
}
"""Fields of ReSegConfig before there were several networks -> what they are called now."""


class Saved(NamedTuple):
    """A network from a file.

    Attributes:
      config: the network.
      variables: as from `reseg_jax.init`; without "frozen" if the file was written `head_only`.
      classes: names and colors, or None if the file has none.
    """

    config: NetworkConfig
    variables: dict
    classes: Classes | None


def config_to_dict(config: NetworkConfig) -> dict:
    """A network's config for JSON, with the network's name."""
    return {"network": networks.name_of(config), **config_json.to_dict(config)}


def config_from_dict(values: dict) -> NetworkConfig:
    """The config that `config_to_dict` gave; without a name it is an older ReSeg's, in one piece.

    Raises:
      UserError: the network, or a field, is unknown.
    """
    values = dict(values)
    if "network" not in values:
        values = _from_one_piece(values)
    return config_json.from_dict(networks.config_class(values.pop("network")), values)


def _from_one_piece(values):
    """A ReSegConfig as it was before backbone, network and execution were apart."""
    values.pop("classes", None)
    nested = {"network": "reseg", "backbone": {}, "execution": {}}
    for name, value in values.items():
        home, _, inner = OLD_NAMES.get(name, name).rpartition(".")
        (nested[home] if home else nested)[inner] = value
    if nested.get("tap", "conv3_3") is None:
        nested |= {"backbone": None, "tap": "conv3_3"}
    return nested


def classes_to_dict(classes: Classes) -> dict:
    """Classes for JSON; without `reading` if there is none, as in older files."""
    values = config_json.to_dict(classes)
    return {name: value for name, value in values.items() if value is not None}


def classes_from_dict(values: dict | None) -> Classes | None:
    """The classes from their JSON."""
    return config_json.from_dict(Classes, values) if values else None


def save(
    path: str | os.PathLike,
    config: NetworkConfig,
    variables: dict,
    head_only: bool = False,
    classes: Classes | None = None,
) -> None:
    """Write a network to an .npz that NumPy alone can read.

    Entries are named as the parameters are: `renet_0/vertical/forward/input_kernel`,
    `vgg/conv1_1/kernel`, ..., and `config` and `classes` hold JSON texts.

    Args:
      path: the file.
      config: the network.
      variables: as from `reseg_jax.init`.
      head_only: leave the frozen backbone out, and write parameters in float16.
      classes: names and colors that travel with the network.
    """
    arrays = {}
    for name, collection in variables.items():
        if head_only and name == "frozen":
            continue
        dtype = np.float16 if head_only and name == "params" else None
        flat = flatten_dict(collection, sep="/")
        arrays |= {key: np.asarray(array, dtype) for key, array in flat.items()}
    texts = {_CONFIG: config_to_dict(config)}
    if classes:
        texts[_CLASSES] = classes_to_dict(classes)
    content = io.BytesIO()
    np.savez(content, **{name: json.dumps(text) for name, text in texts.items()}, **arrays)
    atomic.write_file(path, content.getvalue())


def read(path: str | os.PathLike) -> Saved:
    """The network in a file that `save` wrote.

    Raises:
      UserError: the file is not one, or a parameter is missing or has another shape than the
        config gives it.
    """
    content = io.BytesIO(atomic.read_file(path))
    try:
        with np.load(content, allow_pickle=False) as entries:
            arrays = dict(entries)
        text = json.loads(str(arrays.pop(_CONFIG)))
        classes = json.loads(str(arrays.pop(_CLASSES, "null"))) or text.get("classes")
    except (ValueError, TypeError, KeyError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is no network saved by reseg_jax.save ({error}): save it again"
        ) from error
    try:
        config, classes = config_from_dict(text), classes_from_dict(classes)
    except (UserError, TypeError) as error:
        raise UserError(f"{path}: {error}") from error
    variables = {}
    for collection, tree in jax.eval_shape(partial(api.init, config), jax.random.key(0)).items():
        flat = flatten_dict(tree, sep="/")
        if collection == "frozen" and not any(name in arrays for name in flat):
            continue
        for name, expected in flat.items():
            if name not in arrays:
                raise UserError(f"{path}: parameter {name} is missing")
            if arrays[name].shape != expected.shape:
                raise UserError(
                    f"{path}: parameter {name} has shape {arrays[name].shape}, "
                    f"the config needs {expected.shape}"
                )
            flat[name] = arrays[name].astype(expected.dtype)
        variables[collection] = unflatten_dict(flat, sep="/")
    return Saved(config, variables, classes)
