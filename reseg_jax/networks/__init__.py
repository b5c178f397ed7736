"""One paper, one file: a config and a Flax module each, found by name."""

import importlib

from reseg_jax.errors import check_choice
from reseg_jax.networks.base import NetworkConfig

NETWORKS = {
    "reseg": "reseg_jax.networks.reseg",
    "fcn": "reseg_jax.networks.fcn",
    "unet": "reseg_jax.networks.unet",
    "segnet": "reseg_jax.networks.segnet",
    "deconvnet": "reseg_jax.networks.deconvnet",
    "fusionnet": "reseg_jax.networks.fusionnet",
    "frrn": "reseg_jax.networks.frrn",
    "renet": "reseg_jax.networks.renet",
    "dilated": "reseg_jax.networks.dilated",
    "pspnet": "reseg_jax.networks.pspnet",
    "deeplab": "reseg_jax.networks.deeplab",
    "refinenet": "reseg_jax.networks.refinenet",
}
"""Name of a network -> the file that brings its `Config` and its `Network`."""


def config_class(name: str) -> type[NetworkConfig]:
    """The config of the network that goes by `name`; a UserError lists the names."""
    check_choice("network", name, NETWORKS)
    return importlib.import_module(NETWORKS[name]).Config


def name_of(config: NetworkConfig) -> str:
    """The name of the network that `config` is for."""
    for name, module in NETWORKS.items():
        if type(config).__module__ == module:
            return name
    raise ValueError(f"{type(config)} is in no file of NETWORKS")


def build(config: NetworkConfig):
    """The Flax module of a config's network."""
    return importlib.import_module(type(config).__module__).Network(config)
