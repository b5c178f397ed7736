"""Begin a training where another ended: its layers, and a new classifier for other classes."""

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from reseg_jax.config import ReSegConfig
from reseg_jax.errors import UserError


def start_from(
    config: ReSegConfig, variables: dict, trained_config: ReSegConfig, trained: dict
) -> dict:
    """`variables` of a new network with the parameters of a `trained` one, the VGG's included.

    The classifier stays as it is in `variables` where the classes are others, by number or name.
    A VGG is found whether it was frozen or not. UserError where another parameter is not of the
    same shape in both.
    """
    theirs = {
        name: array
        for tree in trained.values()
        for name, array in flatten_dict(tree, sep="/").items()
    }
    keep = () if _same_classes(config, trained_config) else ("classifier/",)

    def parameter(name, ours):
        if name.startswith(keep):
            return ours
        if name not in theirs or theirs[name].shape != ours.shape:
            have = theirs[name].shape if name in theirs else "missing"
            raise UserError(
                f"the network to start from has other layers: its {name} is {have}, and "
                f"{ours.shape} is wanted: leave out what changes the network"
            )
        return jnp.asarray(theirs[name])

    return {
        collection: unflatten_dict(
            {name: parameter(name, ours) for name, ours in flatten_dict(tree, sep="/").items()},
            sep="/",
        )
        for collection, tree in variables.items()
    }


def _same_classes(config, other):
    if config.outputs != other.outputs:
        return False
    return not (config.classes and other.classes) or config.classes.names == other.classes.names
