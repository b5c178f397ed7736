"""The flag that takes class frequencies out of a network's logits: evaluate's and export's."""

from collections.abc import Callable, Iterable

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


def adjustment(truths: Iterable[np.ndarray], num_classes: int) -> Callable[[dict], dict]:
    """What the flag does to variables of a network; `truths` are the labels of training."""
    shares = logit_adjustment.class_shares(truths, num_classes)
    return lambda variables: logit_adjustment.adjust_logits(variables, shares, POWER.value)
