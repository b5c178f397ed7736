"""Labels: the classes of a dataset, and void, the pixels without truth.

Dimension key: `B H W` image axes, `K` classes.
"""

import dataclasses

import jax
import jax.numpy as jnp

from reseg_jax.errors import UserError

VOID = 255
"""Label of a pixel without truth, everywhere inside the library (the PASCAL VOC convention)."""


@dataclasses.dataclass(frozen=True)
class Classes:
    """The classes of a dataset. They are saved beside a network, so that it can draw and name.

    Attributes:
      names: one per class, in label order.
      palette: one (red, green, blue) per class, 0..255.
      void: value of a pixel without truth in the dataset's label files (read as `VOID`).
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    void: int = VOID

    def __post_init__(self):
        if len(self.names) != len(self.palette):
            raise UserError(
                f"{len(self.names)} class names but {len(self.palette)} colors: give one each"
            )


def void_as_class(labels: jax.Array, num_classes: int) -> jax.Array:
    """Labels in which void is class K, as the released code trains it (padding is void too)."""
    return jnp.where(labels == VOID, num_classes, labels)


def likeliest(scores: jax.Array, num_classes: int) -> jax.Array:
    """The class with the highest score.

    Args:
      scores: logits or probabilities [..., K], or [..., K + 1] if void was trained as a class.
      num_classes: K.

    Returns:
      uint8 labels [...]; `VOID` if the output after the K classes is the highest.
    """
    labels = scores.argmax(axis=-1)
    return jnp.where(labels < num_classes, labels, VOID).astype(jnp.uint8)
