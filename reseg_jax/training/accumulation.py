"""The gradients of a batch from those of its parts: the memory of a part, the update of them all.

The loss is a mean over images, so the batch's is the sum of what its images add to it, in whatever
parts they are computed. Statistics of batch normalization are no such sums: they are those of a
part, as is usual where gradients are accumulated.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def in_parts(gradients_of: Callable, changing: dict, batch: dict, parts: int) -> tuple:
    """Sums over the parts of a batch, which are computed one after another.

    Args:
      gradients_of: `(changing, part, number) -> ((loss, changing), gradients)`, of which losses and
        gradients are summed; `number` is the part's, from 0.
      changing: what is passed on from part to part, as running statistics are.
      batch: arrays whose first axis is the images', "weight" [B] among them.
      parts: how many; it divides B.

    Returns:
      `((loss, changing), gradients)`. A part without a real image, of weights 0 only, adds nothing
      and changes nothing: its mean over images is no number.
    """

    def add(sums, part_and_number):
        (loss, changing), gradients = sums
        (more, changed), more_gradients = gradients_of(changing, *part_and_number)
        added = jax.tree.map(jnp.add, (loss, gradients), (more, more_gradients))
        is_real = (part_and_number[0]["weight"] != 0).any()
        loss, changing, gradients = jax.tree.map(
            lambda new, old: jnp.where(is_real, new, old),
            (added[0], changed, added[1]),
            (loss, changing, gradients),
        )
        return ((loss, changing), gradients), None

    cut = jax.tree.map(lambda x: x.reshape(parts, len(x) // parts, *x.shape[1:]), batch)
    numbered = cut, jnp.arange(parts)
    one = jax.tree.map(lambda x: x[0], numbered)
    (loss, _), gradients = jax.eval_shape(gradients_of, changing, *one)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (loss, gradients))
    return jax.lax.scan(add, ((zeros[0], changing), zeros[1]), numbered)[0]
