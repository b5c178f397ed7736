"""What is given to sweeps and ReNet layers, checked before it reaches XLA.

Only types, shapes and dtypes are looked at, which are known inside `jit` as well.
"""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp

from reseg_jax.errors import UserError

_LINE = ("lines", 2)  # what one line by itself looks like: the argument's name, and its rank


def check_sweep(params: dict, lines, gates: Sequence[str], recurrent: bool, lengths) -> None:
    """Checks the arguments of `reseg_jax.sweep`.

    Args:
      params, lines, lengths: as there.
      gates: of the cell.
      recurrent: whether the cell has a `recurrent_kernel`.

    Raises:
      UserError: something has another type, dtype or shape.
    """
    shape = check_array("lines", lines, "[steps, lines, features]", 3)
    names = ("input_kernel", "bias", *(("recurrent_kernel",) if recurrent else ()))
    check_names("params", params, names)
    count = len(gates)
    for name, text, rank in (
        ("input_kernel", "[features, gates * units]", 2),
        ("bias", "[gates * units]", 1),
        ("recurrent_kernel", "[units, gates * units]", 2),
    ):
        if name in names:
            check_array(f"params[{name!r}]", params[name], text, rank)
    units = params["bias"].shape[0] // count
    expected = {"input_kernel": (shape[2], count * units), "bias": (count * units,)}
    expected |= {"recurrent_kernel": (units, count * units)}
    for name in names:
        if params[name].shape != expected[name]:
            raise UserError(
                f"params[{name!r}] has shape {params[name].shape}, but for lines of {shape[2]} "
                f"features and a cell of {count} gates and {units} units it must be "
                f"{expected[name]}: give the parameters of this cell"
            )
    if lengths is not None:
        check_array("lengths", lengths, "[lines]", 1)
        if lengths.shape != shape[1:2] or not jnp.issubdtype(lengths.dtype, jnp.integer):
            raise UserError(
                f"lengths are {lengths.dtype} of shape {lengths.shape}: give {shape[1]} whole "
                "numbers, one per line"
            )


def check_names(name: str, tree, names: Sequence[str]) -> None:
    """Checks that parameters are a dict with these names."""
    missing = [wanted for wanted in names if not isinstance(tree, Mapping) or wanted not in tree]
    if missing:
        found = ", ".join(map(str, tree)) if isinstance(tree, Mapping) else type(tree).__name__
        raise UserError(f"{name} needs {', '.join(names)} and has {found or 'nothing'}")


def check_array(name: str, array, text: str, rank: int) -> tuple[int, ...]:
    """Checks that an argument is an array of numbers of this rank; gives its shape."""
    if not hasattr(array, "shape") or not hasattr(array, "dtype"):
        raise UserError(f"{name} is a {type(array).__name__}: give an array {text}")
    if len(array.shape) != rank:
        one = f" ({name}[:, None] of a single line)" if (name, len(array.shape)) == _LINE else ""
        raise UserError(f"{name} has shape {array.shape}: give {text}{one}")
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.floating, jnp.integer)):
        raise UserError(f"{name} is {array.dtype}: give floats")
    return array.shape
