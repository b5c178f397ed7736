"""Void, the pixels without truth, on the way into a loss and out of a network.

Dimension key: `B H W` image axes, `K` classes.
"""

import jax
import jax.numpy as jnp

from reseg_jax.config import VOID


def void_as_class(labels: jax.Array, num_classes: int) -> jax.Array:
    """Labels in which void is class K, as the released code trains it (padding is void too)."""
    return jnp.where(labels == VOID, num_classes, labels)


def likeliest(scores: jax.Array, num_classes: int) -> jax.Array:
    """[..., K or K + 1] logits or probabilities -> uint8 labels; the output behind K is `VOID`."""
    labels = scores.argmax(axis=-1)
    return jnp.where(labels < num_classes, labels, VOID).astype(jnp.uint8)
