"""Tensors of a .safetensors file; the package that reads it is optional."""

import os
from collections.abc import Collection

import numpy as np

from reseg_jax.errors import UserError
from reseg_jax.files.atomic import damaged


def read_safetensors(path: str | os.PathLike, names: Collection[str]) -> dict[str, np.ndarray]:
    """{name: tensor} of those of `names` that the file has.

    Its numbers are not packed: what is read is no larger than the file.

    Raises:
      UserError: the file is damaged, or the package `safetensors` is missing.
    """
    try:
        import safetensors
    except ImportError:
        raise UserError(f"{path} needs a package: pip install safetensors") from None
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in set(names) & set(file.keys())}
    except Exception as error:  # its own, and others for kinds of numbers that NumPy lacks
        raise damaged(path, error) from error
