"""What a preset is: a network and its training, with the row that it reports."""

from typing import NamedTuple

from reseg_jax.networks.base import NetworkConfig
from reseg_jax.training.settings import TrainSettings


class Preset(NamedTuple):
    """A network, its training, and where the row comes from."""

    source: str
    config: NetworkConfig
    settings: TrainSettings
