"""The flags of which networks predict, and what is averaged: evaluate's and predict's.

Everything combines: probabilities are averaged over every checkpoint, look and sample.
"""

from pathlib import Path

from absl import flags

from reseg_jax import runs
from reseg_jax.averaging import Averaging
from reseg_jax.errors import UserError

WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run")
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
flags.mark_flags_as_mutual_exclusive(["checkpoint", "average"])


def load() -> list[runs.Run]:
    """The networks that the flags name, oldest first."""
    if AVERAGE.value:
        return runs.load_members(Path(WORKDIR.value), AVERAGE.value)
    return [runs.load_run(WORKDIR.value, CHECKPOINT.value or "best")]


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
