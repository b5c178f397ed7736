"""How often a class was seen in training, taken out of its logits.

Dimension key: `K` classes.
"""

from collections.abc import Iterable

import numpy as np

from reseg_jax.labels import VOID


def class_shares(labels: Iterable[np.ndarray], num_classes: int) -> np.ndarray:
    """The share of each class among the labeled pixels of all images, float64 [K]."""
    counts = sum(np.bincount(label[label != VOID], minlength=num_classes) for label in labels)
    return counts / counts.sum()


def adjust_logits(variables: dict, shares: np.ndarray, power: float) -> dict:
    """`variables` whose logits are z_c - power log share_c: rarer classes are predicted sooner.

    Post-hoc logit adjustment, Menon et al., "Long-tail learning via logit adjustment", ICLR 2021,
    equation 9; not the paper's. At power 0 nothing changes, at 1 classes are as likely as if all
    had been seen equally often; between them precision is traded for the recall of rare classes,
    and validation data choose. Only the classifier's bias changes. A class that was never seen
    keeps its logit, as does void if it is trained.

    Args:
      variables: of any network, whose last layer is called `classifier`.
      shares: [K], as from `class_shares`.
      power: from 0 to 1.
    """
    classifier = variables["params"]["classifier"]
    bias = np.array(classifier["bias"])
    seen = np.flatnonzero(shares)
    bias[seen] -= power * np.log(shares[seen])
    params = variables["params"] | {"classifier": classifier | {"bias": bias}}
    return variables | {"params": params}
