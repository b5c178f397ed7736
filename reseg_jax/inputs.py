"""Images as callers have them, checked before they reach XLA, whose errors name no argument.

Shapes and dtypes are always checked; values are if they are known, which they are not inside `jit`.
"""

import jax
import jax.numpy as jnp
import numpy as np

from reseg_jax.errors import UserError


def as_array(images) -> np.ndarray | jax.Array:
    """One array of what may be a list of images.

    Raises:
      UserError: they have several sizes, or are no numbers.
    """
    if isinstance(images, jax.Array | np.ndarray):
        return images
    try:
        array = np.asarray(images)
    except ValueError:
        array = np.empty(0, object)
    if array.dtype.kind not in "biufc" and not jnp.issubdtype(array.dtype, jnp.floating):
        shapes = {np.shape(image) for image in images} if isinstance(images, list | tuple) else ()
        if len(shapes) > 1:
            listed = ", ".join(map(str, sorted(shapes)[:3]))
            raise UserError(
                f"images have several shapes, {listed}: give images of one size together, and "
                "others one after another"
            )
        raise UserError(f"images are a {type(images).__name__}: give an array of RGB, 0..255")
    return array


def check_images(images: np.ndarray | jax.Array, single: bool) -> None:
    """Checks that images are RGB from 0 to 255.

    Args:
      images: [B, H, W, 3] and, if `single`, also [H, W, 3].
      single: whether the batch may be absent.

    Raises:
      UserError: they have another shape or dtype, or other values.
    """
    shape = images.shape
    if len(shape) not in ((3, 4) if single else (4,)) or shape[-1] != 3 or 0 in shape:
        raise UserError(
            f"images have shape {shape}: give "
            f"{'[height, width, 3] or ' if single else ''}[batch, height, width, 3] RGB"
            f"{_hint(shape, single)}"
        )
    if images.dtype == jnp.uint8:
        return
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise UserError(f"images are {images.dtype}: give uint8 or float, 0..255")
    if isinstance(images, jax.core.Tracer):
        return
    values = np.asarray(images)
    if not ((values >= 0) & (values <= 255)).all():
        raise UserError("images hold values outside 0..255 or not finite: give RGB, 0..255")
    if 0 < values.max() <= 1:
        raise UserError(
            f"images hold floats from 0 to {values.max():g}, as if 1 were white: give RGB, "
            "0..255 (255 times these)"
        )


def _hint(shape, single):
    """What may have been meant, for the sentence on a wrong shape."""
    if 0 in shape:
        return ", none of them 0"
    if len(shape) == 2:
        return "; this looks like a mask or a gray image"
    if len(shape) == 3 and shape[-1] == 3 and not single:
        return "; of a single image, image[None]"
    if len(shape) in (3, 4) and shape[-3] == 3:
        return "; the channels come last, as np.moveaxis(images, -3, -1) has them"
    if shape and shape[-1] == 4:
        return "; leave out the fourth channel, opacity"
    return "; repeat a gray image three times" if shape and shape[-1] == 1 else ""
