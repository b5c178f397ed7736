"""Labels: the classes of a dataset, and void, the pixels without truth.

Dimension key: `B H W` image axes, `K` classes.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from reseg_jax.errors import UserError

VOID = 255
"""Label of a pixel without truth, everywhere inside the library (the PASCAL VOC convention)."""


Color = tuple[int, int, int]
"""(red, green, blue), 0..255."""

MOST_DESCRIBED = 12  # numbers or colors that a line names; our choice


@dataclasses.dataclass(frozen=True)
class LabelReading:
    """What the label files of a dataset hold: one rule for all of them.

    `reseg_jax.files.label_reading` reads files by it.

    Attributes:
      kind: what counts: "indices", the number that a pixel holds, whatever color it shows in;
        "gray levels", how bright it shows, 0..255; "colors", the color that it shows.
      meaning: (number or color, label) pairs; a label is 0..K-1 or `VOID`. A file that holds
        anything else is refused.
    """

    kind: str
    meaning: tuple[tuple[int | Color, int], ...]

    def describe(self, names: Sequence[str]) -> str:
        """One line: the kind, and what stands for which class; of many, the first ones.

        Args:
          names: of the classes.
        """
        classes = [f"{key} = {names[label]}" for key, label in self.meaning if label != VOID]
        void = [f"{key} = void" for key, label in self.meaning if label == VOID]
        if len(classes) > MOST_DESCRIBED:
            classes = [*classes[: MOST_DESCRIBED - 1], "...", classes[-1]]
        if len(void) > MOST_DESCRIBED:
            void = [*void[: MOST_DESCRIBED - 1], "...", void[-1]]
        return f"{self.kind}, {', '.join([*classes, *void])}"


@dataclasses.dataclass(frozen=True)
class Classes:
    """The classes of a dataset. They are saved beside a network, so that it can draw and name.

    Attributes:
      names: one per class, in label order.
      palette: one (red, green, blue) per class, 0..255.
      void: value of a pixel without truth in the dataset's label files (read as `VOID`).
      reading: what label files hold, if that has been decided for a dataset; None: the indices
        0..K-1, `void` and 255.
    """

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    void: int = VOID
    reading: LabelReading | None = None

    def __post_init__(self):
        if len(self.names) != len(self.palette):
            raise UserError(
                f"{len(self.names)} class names but {len(self.palette)} colors: give one each"
            )

    @property
    def label_reading(self) -> LabelReading:
        """How label files are read: `reading`, or by indices."""
        if self.reading:
            return self.reading
        indices = [(index, index) for index in range(len(self.names))]
        void = [(value, VOID) for value in sorted({self.void, VOID} - set(range(len(indices))))]
        return LabelReading("indices", (*indices, *void))


def void_as_class(labels: jax.Array, num_classes: int) -> jax.Array:
    """Labels in which void is class K, as the released code trains it (padding is void too)."""
    return jnp.where(labels == VOID, num_classes, labels)


def likeliest(scores: jax.Array | np.ndarray, num_classes: int) -> jax.Array | np.ndarray:
    """The class with the highest score: NumPy's of NumPy's, which compiles nothing for each size.

    Args:
      scores: logits or probabilities [..., K], or [..., K + 1] if void was trained as a class.
      num_classes: K.

    Returns:
      uint8 labels [...]; `VOID` if the output after the K classes is the highest.
    """
    labels = scores.argmax(axis=-1)
    where = np.where if isinstance(scores, np.ndarray) else jnp.where
    return where(labels < num_classes, labels, VOID).astype(jnp.uint8)
