"""The flag that takes class frequencies out of a network's logits: evaluate's and export's."""

from collections.abc import Iterable

import numpy as np
from absl import flags

from reseg_jax.inference import logit_adjustment

POWER = flags.DEFINE_float(
    "logit_adjustment",
    0.0,
    "share of the log frequency of the classes in training that is taken out of the logits",
    0,
    1,
)
flags.DEFINE_alias("discount", "logit_adjustment")


def adjust(members: list[dict], truths: Iterable[np.ndarray], num_classes: int) -> list[dict]:
    """Variables of each network after the adjustment; `truths` are the labels of training."""
    shares = logit_adjustment.class_shares(truths, num_classes)
    return [logit_adjustment.adjust_logits(each, shares, POWER.value) for each in members]
