"""A network as one `.npz` file: its config as JSON, its parameters under their documented names."""

import io
import json
import os
import zipfile
from functools import partial
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from reseg_jax import files, model, plain
from reseg_jax.config import ReSegConfig
from reseg_jax.errors import UserError

_CONFIG = "config"  # the one entry that is no parameter


def save(path: str | os.PathLike, config: ReSegConfig, variables: dict) -> None:
    """Write `config` and `variables` to `path`, an .npz that NumPy alone can read.

    Entries are named as the parameters are: `renet_0/vertical/forward/input_kernel`,
    `vgg/conv1_1/kernel`, ..., and `config` holds the JSON text.
    """
    arrays = {}
    for collection in variables.values():
        arrays |= flatten_dict(collection, sep="/")
    content = io.BytesIO()
    np.savez(content, **{_CONFIG: json.dumps(plain.to_dict(config))}, **arrays)
    files.write_file(path, content.getvalue())


def load(path: str | os.PathLike) -> tuple[ReSegConfig, dict]:
    """(config, variables) from a file that `save` wrote, or from a workdir's best checkpoint.

    UserError where the file is not one, or a parameter is missing or has another shape than the
    config gives it.
    """
    if Path(path).is_dir():
        from reseg_jax import runs  # orbax, which it imports, takes two seconds

        run = runs.load_run(path)
        return run.config, run.variables
    try:
        with np.load(io.BytesIO(files.read_file(path)), allow_pickle=False) as entries:
            arrays = dict(entries)
        config = plain.from_dict(ReSegConfig, json.loads(str(arrays.pop(_CONFIG))))
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is no network saved by reseg_jax.save ({error}): save it again"
        ) from error
    variables = {}
    for collection, tree in jax.eval_shape(partial(model.init, config), jax.random.key(0)).items():
        flat = {}
        for name, expected in flatten_dict(tree, sep="/").items():
            if name not in arrays:
                raise UserError(f"{path}: parameter {name} is missing")
            if arrays[name].shape != expected.shape:
                raise UserError(
                    f"{path}: parameter {name} has shape {arrays[name].shape}, "
                    f"the config needs {expected.shape}"
                )
            flat[name] = arrays[name]
        variables[collection] = unflatten_dict(flat, sep="/")
    return config, variables
