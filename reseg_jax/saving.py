"""A network as data: its config by the network's name, and all of it as one `.npz` file.

A file may do without the pretrained backbone, which is public: a trained ReSeg head is a few
megabytes.
"""

import io
import json
import os
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from reseg_jax import api, networks
from reseg_jax.errors import UserError, first_line
from reseg_jax.files import atomic, config_json
from reseg_jax.files.npz import open_npz
from reseg_jax.labels import Classes
from reseg_jax.layers import conv
from reseg_jax.networks.base import NetworkConfig

_CONFIG, _CLASSES = "config", "classes"  # the entries of a file that are no parameters
_LONGEST_TEXT = 1 << 16  # characters of these; a table of 255 classes has a tenth

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
    if not isinstance(values, dict):
        raise UserError(f"the config is a {type(values).__name__}: it must be an object of fields")
    values = dict(values) if "network" in values else _from_one_piece(values)
    return config_json.from_dict(networks.config_class(values.pop("network")), values)


def _from_one_piece(values):
    """A ReSegConfig as it was before backbone, network and execution were apart."""
    nested = {"network": "reseg", "backbone": {}, "execution": {}}
    for name, value in values.items():
        home, _, inner = OLD_NAMES.get(name, name).rpartition(".")
        (nested[home] if home else nested)[inner] = value
    nested.pop("classes", None)
    if nested["execution"].get("unroll") is True:
        nested["execution"]["unroll"] = "all"
    if nested.get("tap", "conv3_3") is None:
        nested |= {"backbone": None, "tap": "conv3_3"}
    return nested


def classes_to_dict(classes: Classes) -> dict:
    """Classes for JSON; without `reading` if there is none, as in older files."""
    values = config_json.to_dict(classes)
    return {name: value for name, value in values.items() if value is not None}


def classes_from_dict(values: dict | None) -> Classes | None:
    """The classes from their JSON."""
    return None if values is None else config_json.from_dict(Classes, values)


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

    Raises:
      UserError: `config` or `variables` are of another kind, or the file cannot be written.
    """
    api.check_config(config)
    if not isinstance(variables, Mapping):
        raise UserError(f"variables are a {type(variables).__name__}: give what init or load gave")
    arrays = {}
    for name, collection in variables.items():
        if name == conv.TRANSFORMED or (head_only and name == "frozen"):
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
    atomic.file_size(path)  # which says what is wrong with a file that cannot be opened
    try:
        with open_npz(path) as entries:
            config, classes = _texts(path, entries)
            return Saved(config, _variables(path, config, entries), classes)
    except UserError:
        raise
    except Exception as error:  # zipfile and NumPy raise a dozen kinds
        raise UserError(
            f"{path} is no network saved by reseg_jax.save ({first_line(error)}): save it again"
        ) from error


def _texts(path, entries):
    """(config, classes) of a file."""
    text = json.loads(entries[_CONFIG].text(_LONGEST_TEXT))
    classes = text.get("classes")
    if _CLASSES in entries:
        classes = json.loads(entries[_CLASSES].text(_LONGEST_TEXT))
    try:
        return config_from_dict(text), classes_from_dict(classes)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _variables(path, config, entries):
    """The variables of a file, each of the shape that the config gives it."""
    try:
        expected = jax.eval_shape(partial(api.init, config), jax.random.key(0))
    except Exception as error:  # widths of 10^20, for example
        raise UserError(
            f"{path}: its config describes no network ({first_line(error)}): save it again"
        ) from error
    variables = {}
    for collection, tree in expected.items():
        flat = flatten_dict(tree, sep="/")
        if collection == "frozen" and not any(name in entries for name in flat):
            continue
        for name, wanted in flat.items():
            if name not in entries:
                raise UserError(f"{path}: parameter {name} is missing")
            if entries[name].shape != wanted.shape:
                raise UserError(
                    f"{path}: parameter {name} has shape {entries[name].shape}, "
                    f"the config needs {wanted.shape}"
                )
            if entries[name].dtype.kind != "f":
                raise UserError(f"{path}: parameter {name} has {entries[name].dtype}, not floats")
            flat[name] = entries[name].read().astype(wanted.dtype)
        variables[collection] = unflatten_dict(flat, sep="/")
    return variables
