"""The flags of which networks predict, and what is averaged: evaluate's and predict's.

Everything combines: probabilities are averaged over every run, checkpoint, view and sample.
"""

import logging
from typing import NamedTuple

from absl import flags

from reseg_jax import api, loading
from reseg_jax.errors import UserError
from reseg_jax.inference.ensemble import Views, share_backbone
from reseg_jax.labels import Classes
from reseg_jax.networks.base import NetworkConfig
from reseg_jax.training.trained import Run, load_members, load_run

_log = logging.getLogger("reseg_jax.networks")

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
    """Networks of the same classes, whose probabilities are averaged.

    Attributes:
      groups: of --model or of each workdir: (config, variables) of its members, oldest first.
      names: what each group is, for a line of text.
      classes: names and colors, or None.
      runs: where the members come from, in their order; none for --model.
    """

    groups: list[list[tuple[NetworkConfig, dict]]]
    names: list[str]
    classes: Classes | None
    runs: list[Run]

    @property
    def members(self) -> list[tuple[NetworkConfig, dict]]:
        """(config, variables) of every network."""
        return [member for group in self.groups for member in group]

    @property
    def config(self) -> NetworkConfig:
        """The first network's: that of the others has the same classes."""
        return self.groups[0][0][0]

    @property
    def exact_padding(self) -> bool:
        """Whether all of them can be told an image's valid size in a larger array."""
        return all(config.exact_padding for config, _ in self.members)

    @property
    def name(self) -> str:
        """What they are, for a line of text."""
        return "; ".join(self.names)


def load() -> Networks:
    """What the flags name."""
    if MODEL.value:
        saved = loading.load_saved(MODEL.value, BACKBONE_WEIGHTS.value)
        member = saved.config, api.prepare(saved.config, saved.variables)
        return Networks([[member]], [f"model {MODEL.value}"], saved.classes, [])
    if BACKBONE_WEIGHTS.value:
        raise UserError("--backbone_weights is for --model: a run in --workdir has its own")
    several = len(WORKDIR.value) > 1
    runs, names = [], []
    for workdir in WORKDIR.value:
        found, name = _checkpoints(workdir)
        runs += found
        names.append(f"{workdir}: {name}" if several else name)
        _warn_if_shrunk(workdir, found[0].settings.shrink)
        if (ours := _classes(runs[0])) != (theirs := _classes(found[0])):
            raise UserError(
                f"--workdir: {workdir} has {theirs}, and {WORKDIR.value[0]} {ours}: only networks "
                "of the same classes are averaged"
            )
    shared = share_backbone([run.variables for run in runs])
    members = [
        (run.config, api.prepare(run.config, variables))
        for run, variables in zip(runs, shared, strict=True)
    ]
    count = len(members) // len(names)  # every workdir has as many
    groups = [members[start : start + count] for start in range(0, len(members), count)]
    return Networks(groups, names, runs[0].classes, runs)


def _warn_if_shrunk(workdir, shrink):
    """Commands show whole images to a network, whatever it was trained on."""
    if shrink > 1 and SCALES.value == SCALES.default:
        _log.warning(
            "warning: %s was trained on images %d times smaller: --scales=%g shows them like that",
            *(workdir, shrink, 1 / shrink),
        )


def _classes(run):
    """Which classes a network has, as text."""
    void = " and void" if run.config.void_class else ""
    if run.classes is None:
        return f"{run.config.num_classes} classes without names{void}"
    return f"the classes {', '.join(run.classes.names)}{void}"


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
