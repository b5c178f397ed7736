"""Begin a training where another ended: its layers, and a new classifier for other classes."""

from collections.abc import Collection, Mapping

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from reseg_jax.errors import UserError


def start_from(
    variables: dict,
    trained: dict,
    new_layers: Collection[str] = (),
    names: Mapping[str, str | None] | None = None,
) -> dict:
    """A new network with the parameters of a trained one, the backbone's included.

    Args:
      variables: of the new network.
      trained: variables of the trained one. A backbone is found whether it was frozen or not.
      new_layers: layers that stay as they are in `variables`, because the classes are others:
        `config.class_layers`.
      names: of layers in the trained network if they are others, and None of those that are new:
        `config.begins_as`.

    Returns:
      Variables with the collections of the new network.

    Raises:
      UserError: another parameter has not the same shape in both.
    """
    theirs = {
        name: array
        for tree in trained.values()
        for name, array in flatten_dict(tree, sep="/").items()
    }
    sources = {**(names or {}), **dict.fromkeys(new_layers)}

    def parameter(name, ours):
        layer, _, rest = name.partition("/")
        if (source := sources.get(layer, layer)) is None:
            return ours
        name = f"{source}/{rest}"
        if name not in theirs or theirs[name].shape != ours.shape:
            have = theirs[name].shape if name in theirs else "missing"
            raise UserError(
                f"the network to start from has other layers: its {name} is {have}, and "
                f"{ours.shape} is wanted: leave out what changes the network"
            )
        return jnp.asarray(theirs[name])

    def collection(tree):
        # Sorted, so that every version of JAX names the same layer first.
        flat = sorted(flatten_dict(tree, sep="/").items())
        return unflatten_dict({name: parameter(name, ours) for name, ours in flat}, sep="/")

    return {name: collection(tree) for name, tree in variables.items()}
