"""The flags of which networks predict, and what is averaged: evaluate's and predict's.

Everything combines: probabilities are averaged over every run, checkpoint, view and sample.
"""

from typing import NamedTuple

from absl import flags

from reseg_jax import api, loading
from reseg_jax.errors import UserError
from reseg_jax.inference.ensemble import Views, share_backbone
from reseg_jax.labels import Classes
from reseg_jax.networks.base import NetworkConfig
from reseg_jax.training.trained import Run, load_members, load_run

WORKDIR = flags.DEFINE_list(
    "workdir", None, "folder of the run; of several, as runs/a,runs/b, the average"
)
MODEL = flags.DEFINE_string(
    "model", None, "file written by reseg_jax.save, or camvid, in place of --workdir"
)
BACKBONE_WEIGHTS = flags.DEFINE_string(
    "backbone_weights", None, "for a --model that is saved without its VGG [a download] or ResNet"
)
flags.DEFINE_alias("vgg_weights", "backbone_weights")
CHECKPOINT = flags.DEFINE_string("checkpoint", None, "best, latest or a step [best]")
AVERAGE = flags.DEFINE_integer(
    "average", None, "average over this many of the newest checkpoints, in place of one", 1
)
FLIP = flags.DEFINE_bool("flip", False, "average over each image and its mirror image")
SCALES = flags.DEFINE_list(
    "scales", ["1"], "average over the image enlarged by each factor, as 0.75,1,1.25"
)
SAMPLES = flags.DEFINE_integer(
    "samples", 0, "average over this many passes with dropout left on (0: one with it off)", 0
)
flags.register_validator("workdir", lambda value: value != [], "give the folder of a run")
flags.mark_flags_as_mutual_exclusive(["workdir", "model"], required=True)
flags.mark_flags_as_mutual_exclusive(["model", "checkpoint", "average"])


class Networks(NamedTuple):
    """Networks of one config, whose probabilities are averaged.

    Attributes:
      config: the network.
      classes: names and colors, or None.
      members: variables of each.
      name: what they are, for a line of text.
      runs: where they come from, each workdir's oldest first; none for --model.
    """

    config: NetworkConfig
    classes: Classes | None
    members: list[dict]
    name: str
    runs: list[Run]


def load() -> Networks:
    """What the flags name."""
    if MODEL.value:
        saved = loading.load_saved(MODEL.value, BACKBONE_WEIGHTS.value)
        name = f"model {MODEL.value}"
        members = [api.prepare(saved.config, saved.variables)]
        return Networks(saved.config, saved.classes, members, name, [])
    if BACKBONE_WEIGHTS.value:
        raise UserError("--backbone_weights is for --model: a run in --workdir has its own")
    several = len(WORKDIR.value) > 1
    found, described = [], []
    for workdir in WORKDIR.value:
        checkpoints, name = _checkpoints(workdir)
        found += checkpoints
        described.append(f"{workdir}: {name}" if several else name)
        names = [run.classes and run.classes.names for run in (found[0], found[-1])]
        if found[0].config != found[-1].config or names[0] != names[1]:
            raise UserError(
                f"--workdir: {workdir} holds another network than {WORKDIR.value[0]}: only runs "
                "that differ in their training, the seed for example, are averaged"
            )
    config = found[0].config
    shared = share_backbone([run.variables for run in found])
    members = [api.prepare(config, variables) for variables in shared]
    return Networks(config, found[0].classes, members, "; ".join(described), found)


def _checkpoints(workdir):
    """Those that the flags name of one run, and what they are."""
    if AVERAGE.value:
        found = load_members(workdir, AVERAGE.value)
        steps = ", ".join(str(run.step) for run in found)
        return found, f"mean of the checkpoints of steps {steps}"
    run = load_run(workdir, CHECKPOINT.value or "best")
    return [run], f"checkpoint {run.name} (step {run.step})"


def views() -> Views:
    """What the flags average, besides networks."""
    try:
        scales = tuple(map(float, SCALES.value))
    except ValueError:
        raise UserError(
            f"--scales={','.join(SCALES.value)}: give numbers, as 0.75,1,1.25"
        ) from None
    return Views(FLIP.value, scales, SAMPLES.value)


def describe(views: Views) -> str:
    """What is averaged besides networks, for a line of text; empty if nothing is."""
    parts = ["mirror images"] if views.flip else []
    if views.scales != (1.0,):
        parts.append(f"scales {', '.join(f'{scale:g}' for scale in views.scales)}")
    if views.samples:
        parts.append(f"{views.samples} samples of dropout")
    return f", averaged over {' and '.join(parts)}" if parts else ""
