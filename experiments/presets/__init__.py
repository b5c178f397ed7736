"""What a name stands for: a network and its training, one entry per row that we report."""

import dataclasses
from collections.abc import Sequence

from experiments.presets import (
    deconvnet,
    deeplab,
    dilated,
    fcn,
    frrn,
    fusionnet,
    pspnet,
    refinenet,
    renet,
    reseg,
    segnet,
    unet,
)
from experiments.presets.recipes import Preset
from reseg_jax import networks, saving
from reseg_jax.errors import UserError
from reseg_jax.files import config_json
from reseg_jax.networks.base import NetworkConfig
from reseg_jax.training import settings as training_settings
from reseg_jax.training.settings import TrainSettings

__all__ = ["PRESETS", "Preset", "build", "default", "of_network"]

PRESETS = (
    reseg.PRESETS
    | fcn.PRESETS
    | unet.PRESETS
    | segnet.PRESETS
    | deconvnet.PRESETS
    | fusionnet.PRESETS
    | frrn.PRESETS
    | renet.PRESETS
    | dilated.PRESETS
    | pspnet.PRESETS
    | deeplab.PRESETS
    | refinenet.PRESETS
)

_DEFAULTS = {"weizmann_horse": "horses", "oxford_flowers17": "flowers"}

_OLD_NAMES = saving.OLD_NAMES | training_settings.OLD_NAMES


def default(dataset: str) -> str:
    """The preset that a dataset is trained with if none is asked for."""
    return _DEFAULTS.get(dataset, dataset)


def of_network(network: str, dataset: str) -> Preset:
    """The first preset of a network, trained on another dataset."""
    networks.config_class(network)
    for preset in PRESETS.values():
        if networks.name_of(preset.config) == network and preset.settings.dataset != "toy":
            settings = dataclasses.replace(preset.settings, dataset=dataset)
            return preset._replace(settings=settings)
    raise UserError(f"--network={network}: no preset trains it yet, add one to experiments/presets")


def build(
    preset: Preset,
    changes: dict,
    assignments: Sequence[str] = (),
    network: NetworkConfig | None = None,
) -> tuple[NetworkConfig, TrainSettings]:
    """Network and settings of a preset after changes, all made at once.

    Args:
      preset: to begin with.
      changes: {field: value}, from flags; names of older versions are known.
      assignments: field=value texts as --set takes them, which win over `changes`.
      network: one to take in place of the preset's.

    Raises:
      UserError: neither network nor settings have such a field; it lists them.
    """
    parts = (network or preset.config, preset.settings)
    known = [config_json.field_names(part) for part in parts]
    wanted = {}
    given = [("--", *change) for change in changes.items()]
    given += [("--set ", *config_json.parse(text)) for text in assignments]
    for flag, name, value in given:
        name, value = _current(name, value, known)
        if not any(name in fields for fields in known):
            fields = ", ".join(sorted(set().union(*known)))
            raise UserError(
                f"{flag}{name}={value}: {type(parts[0]).__name__} and the training have no such "
                f"field: leave it out; the fields are {fields}"
            )
        wanted[name] = value
    return tuple(
        config_json.replace(part, {name: wanted[name] for name in wanted if name in fields})
        for part, fields in zip(parts, known, strict=True)
    )


def _current(name, value, known):
    """A field and its value as they are called today."""
    if name == "vgg_layer" and value is None:
        return "backbone", None
    if not any(name in fields for fields in known):
        name = _OLD_NAMES.get(name, name)
    return name, "all" if name == "execution.unroll" and value is True else value
