"""The flags of which networks predict, and what is averaged: evaluate's and predict's.

Everything combines: probabilities are averaged over every checkpoint, look and sample.
"""

from pathlib import Path
from typing import NamedTuple

from absl import flags

from reseg_jax import runs, serialization
from reseg_jax.averaging import Averaging
from reseg_jax.config import ReSegConfig
from reseg_jax.errors import UserError

WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run")
MODEL = flags.DEFINE_string(
    "model", None, "file written by reseg_jax.save, or camvid, in place of --workdir"
)
VGG_WEIGHTS = flags.DEFINE_string(
    "vgg_weights", None, "of --model, where that is without its VGG [a download]"
)
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
flags.mark_flags_as_mutual_exclusive(["workdir", "model"], required=True)
flags.mark_flags_as_mutual_exclusive(["model", "checkpoint", "average"])


class Networks(NamedTuple):
    """Networks of one config, whose probabilities are averaged.

    members: variables of each.
    name:    what they are, for a line of text.
    runs:    where they come from, oldest first; none for --model.
    """

    config: ReSegConfig
    members: list[dict]
    name: str
    runs: list[runs.Run]


def load() -> Networks:
    """What the flags name."""
    if MODEL.value:
        config, variables = serialization.load(MODEL.value, VGG_WEIGHTS.value)
        return Networks(config, [variables], f"model {MODEL.value}", [])
    if VGG_WEIGHTS.value:
        raise UserError("--vgg_weights is for --model: a run in --workdir has its own")
    if AVERAGE.value:
        found = runs.load_members(Path(WORKDIR.value), AVERAGE.value)
        steps = ", ".join(str(run.step) for run in found)
        name = f"mean of the checkpoints of steps {steps}"
    else:
        found = [runs.load_run(WORKDIR.value, CHECKPOINT.value or "best")]
        name = f"checkpoint {found[0].name} (step {found[0].step})"
    return Networks(found[-1].config, [run.variables for run in found], name, found)


def averaging() -> Averaging:
    """What the flags average, besides networks."""
    try:
        scales = tuple(map(float, SCALES.value))
    except ValueError:
        raise UserError(
            f"--scales={','.join(SCALES.value)}: give numbers, as 0.75,1,1.25"
        ) from None
    return Averaging(FLIP.value, scales, SAMPLES.value)


def describe(averaging: Averaging) -> str:
    """What is averaged besides networks, for a line of text; empty where nothing is."""
    parts = ["mirror images"] * averaging.flip
    if averaging.scales != (1.0,):
        parts.append(f"scales {', '.join(f'{scale:g}' for scale in averaging.scales)}")
    if averaging.samples:
        parts.append(f"{averaging.samples} samples of dropout")
    return f", averaged over {' and '.join(parts)}" if parts else ""
