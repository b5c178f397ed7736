"""A ReNet layer: cut into patches, sweep the columns both ways, then the rows (paper 3.1).

Dimension key: `B H W C` image axes, `I J` rows and columns of patches, `U` units.
"""

import jax
import jax.numpy as jnp

from reseg_jax import devices
from reseg_jax.errors import UserError
from reseg_jax.padding import cells_inside, clear, sides
from reseg_jax.recurrent.sweep import sweep_both_ways

# Where the steps, the lines and the batch stand in [B, I, J, D], for each sublayer.
_TIME_MAJOR = {"vertical": (1, 0, 2, 3), "horizontal": (2, 0, 1, 3)}
_BACK = {"vertical": (1, 0, 2, 3), "horizontal": (1, 2, 0, 3)}


def to_patches(image: jax.Array, patch_size: tuple[int, int]) -> jax.Array:
    """Cut [B, H, W, C] into non-overlapping patches [B, I, J, h w C].

    A patch vector runs over patch row, patch column, channel. Where the patch height h or
    width w does not divide the image, zeros are appended at the bottom and the right, so that
    cell (i, j) always begins at pixel (h i, w j).
    """
    batch, height, width, channels = image.shape
    h, w = patch_size
    image = jnp.pad(image, ((0, 0), (0, -height % h), (0, -width % w), (0, 0)))
    rows, columns = image.shape[1] // h, image.shape[2] // w
    cut = image.reshape(batch, rows, h, columns, w, channels)
    return cut.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows, columns, h * w * channels)


def sublayer(
    params: dict,
    cells: jax.Array,
    direction: str,
    cell: str = "gru",
    length: jax.Array | None = None,
    **how,
) -> jax.Array:
    """Sweep [B, I, J, D] both ways along its columns ("vertical") or rows ("horizontal").

    Lines do not see each other: columns (rows) of all images are swept in parallel, and divided
    over the devices (`reseg_jax.devices`). `length`: cells of a line, int32 [] or one an image
    [B], where not all are its own.
    Returns [B, I, J, 2 U].
    """

    def both_ways(params, given):  # lines [T, B, L, D] or a device's share of them
        lines, lengths = given
        steps, *parallel, features = lines.shape
        flat = lines.reshape(steps, -1, features)
        lengths = None if lengths is None else lengths.reshape(-1)
        swept = sweep_both_ways(params, flat, cell, lengths=lengths, **how)
        return swept.reshape(steps, *parallel, -1)

    lines, lengths = cells.transpose(_TIME_MAJOR[direction]), None
    if length is not None:
        lengths = jnp.broadcast_to(length[..., None], lines.shape[1:3])[None]  # [1, B, L]
    return devices.over_lines(both_ways, params, (lines, lengths)).transpose(_BACK[direction])


def renet_layer(
    params: dict,
    image: jax.Array,
    patch_size: tuple[int, int] = (1, 1),
    cell: str = "gru",
    order: tuple[str, str] = ("vertical", "horizontal"),
    inside: jax.Array | None = None,
    **how,
) -> jax.Array:
    """One ReNet layer (paper section 3.1): every output cell has seen the whole image.

    Args:
      params: {"vertical": pair, "horizontal": pair}, a pair being {"forward", "backward"} of
        `reseg_jax.sweep` parameters. The first sublayer reads patches of h w C features, the
        second the 2 U features of the first.
      image: [B, H, W, C].
      patch_size: (h, w).
      cell: "gru", "lstm", "rnn" or "mingru".
      order: the paper sweeps vertically first, the released code horizontally.
      inside: rows and columns that count where the images do not fill the array, int32 [2] or
        [B, 2] (`reseg_jax.padding`); the cells outside mean nothing, then.
      how: `unroll`, `recompute` and `implementation`, as in `reseg_jax.sweep`, and `chained`:
        backward sweeps read the forward ones' output (the released code).

    Returns:
      [B, ceil(H / h), ceil(W / w), 2 U]. A UserError where `image` has another rank or is empty.
    """
    if image.ndim != 4 or 0 in image.shape:
        raise UserError(
            f"image has shape {image.shape}: give [batch, height, width, channels], none of them 0"
        )
    cells = to_patches(clear(image, inside), patch_size)
    rows, columns = (None, None) if inside is None else sides(cells_inside(inside, patch_size))
    lengths = {"vertical": rows, "horizontal": columns}
    for direction in order:
        cells = sublayer(params[direction], cells, direction, cell, lengths[direction], **how)
    return cells
