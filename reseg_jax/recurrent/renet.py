"""A ReNet layer: cut into patches, sweep the columns both ways, then the rows (paper 3.1).

Dimension key: `B H W C` image axes, `I J` rows and columns of patches, `U` units.
"""

import jax
import jax.numpy as jnp

from reseg_jax import devices
from reseg_jax.errors import UserError
from reseg_jax.padding import clear, sides, valid_cells
from reseg_jax.recurrent.checks import check_array, check_names
from reseg_jax.recurrent.sweep import sweep_both_ways

# Transposes [B, I, J, D] to [steps, B, lines, D], for each sublayer; `_BACK` undoes it.
_TIME_MAJOR = {"vertical": (1, 0, 2, 3), "horizontal": (2, 0, 1, 3)}
_BACK = {"vertical": (1, 0, 2, 3), "horizontal": (1, 2, 0, 3)}


def to_patches(image: jax.Array, patch_size: tuple[int, int]) -> jax.Array:
    """Cut an image into non-overlapping patches.

    If the patch height h or width w does not divide the image, zeros are appended at the bottom
    and the right, so that cell (i, j) always begins at pixel (h i, w j).

    Args:
      image: [B, H, W, C].
      patch_size: (h, w) in pixels.

    Returns:
      [B, ceil(H / h), ceil(W / w), h w C]; a patch vector runs over patch row, patch column,
      channel.
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
    **options,
) -> jax.Array:
    """Sweep cells both ways along their columns or rows.

    Lines do not see each other: columns (rows) of all images are swept in parallel, and divided
    over the devices (`reseg_jax.devices`).

    Args:
      params: {"forward", "backward"} of `reseg_jax.sweep` parameters.
      cells: [B, I, J, D].
      direction: "vertical" sweeps along columns, "horizontal" along rows.
      cell: a name in `reseg_jax.recurrent.sweep.GATES`.
      length: int32 [] or one per image [B], how many cells of a line belong to the image; None:
        all.
      **options: other arguments of `sweep_both_ways`.

    Returns:
      [B, I, J, 2 U].
    """

    def both_ways(params, lines_and_lengths):  # lines [T, B, L, D] or a device's share of them
        lines, lengths = lines_and_lengths
        steps, *parallel, features = lines.shape
        flat = lines.reshape(steps, -1, features)
        lengths = None if lengths is None else lengths.reshape(-1)
        swept = sweep_both_ways(params, flat, cell, lengths=lengths, **options)
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
    valid_size: jax.Array | None = None,
    **options,
) -> jax.Array:
    """One ReNet layer (paper section 3.1): every output cell depends on the whole image.

    Args:
      params: {"vertical": pair, "horizontal": pair}, a pair being {"forward", "backward"} of
        `reseg_jax.sweep` parameters. The first sublayer reads patches of h w C features, the
        second the 2 U features of the first.
      image: [B, H, W, C].
      patch_size: (h, w).
      cell: "gru", "lstm", "rnn" or "mingru".
      order: the paper sweeps vertically first, the released code horizontally.
      valid_size: int32 [2] or [B, 2], how many rows and columns of pixels belong to the images,
        if they do not fill the array (`reseg_jax.padding`); cells beyond mean nothing.
      **options: `unroll`, `remat`, `implementation` and `dtype`, as in `reseg_jax.sweep`, and
        `chained`: backward sweeps read the output of the forward ones (the released code).

    Returns:
      [B, ceil(H / h), ceil(W / w), 2 U].

    Raises:
      UserError: `image` has another rank or is empty, `patch_size` or `order` is no such thing, or
        as for `reseg_jax.sweep`.
    """
    _check(params, image, patch_size, order)
    cells = to_patches(clear(image, valid_size), patch_size)
    rows, columns = None, None
    if valid_size is not None:
        rows, columns = sides(valid_cells(valid_size, patch_size))
    lengths = {"vertical": rows, "horizontal": columns}
    for direction in order:
        cells = sublayer(params[direction], cells, direction, cell, lengths[direction], **options)
    return cells


def _check(params, image, patch_size, order):
    text = "[batch, height, width, channels]"
    if 0 in check_array("image", image, text, 4):
        raise UserError(f"image has shape {image.shape}: give {text}, none of them 0")
    sides = patch_size if isinstance(patch_size, tuple | list) else ()
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise UserError(f"patch_size={patch_size!r}: give a height and a width in pixels")
    if sorted(order) != sorted(_BACK):
        raise UserError(f"order={order!r}: give both of {', '.join(_BACK)}, one after the other")
    check_names("params", params, tuple(order))
    for direction in order:
        check_names(f"params[{direction!r}]", params[direction], ("forward", "backward"))
