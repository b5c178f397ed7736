"""3x3 convolutions with a quarter of the products: Winograd's minimal filtering F(4x4, 3x3).

Lavin and Gray 2016, "Fast algorithms for convolutional neural networks", section 4.3. Tile (i, j)
of the result is 4x4 pixels Y, of the input 6x6 pixels X that overlap the next tile's by 2:

    Y = A^T [ sum over channels of (G K G^T) * (B^T X B) ] A          36 products in place of 144

and from the gradients dY that of the kernel, by the same three matrices turned around:

    dK = G^T [ sum over tiles of (B^T X B) * (A dY A^T) ] G

How a CPU computes it quickly: a strip of tiles at a time, so that all stays in a core's cache. The
transform along a column (B^T, A^T, over rows) is a small matrix product, for which a strip's rows
need no copies; the one along a row is sums of every fourth column. Zeros around the image and rows
of other devices are read through the small matrix as well. Not for bfloat16: its 8 bits are lost
in the transforms' sums. In float32 errors are below 2e-5 of the largest output.

Dimension key: `B H W` image axes, `C` channels in, `F` channels out, `R` rows of tiles in a strip,
`J` tiles in a row of tiles, `P = 6` places along one axis of a transformed tile.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

TILE = 4  # pixels of the result along an axis
WINDOW = TILE + 2  # P: pixels of the input, places of what is transformed

# The matrices of section 4.3, transposed as they are there.
_BT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
_G = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ],
    np.float32,
)
_AT = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32
)

# Tiles that one product should have at least: below, a library is slow to multiply them by a
# kernel (512 channels, 15 tiles in a row: 30 ms with one row, 22 with three; AMD EPYC 9005).
_TILES = 32

Kernels = tuple[jax.Array, ...]
"""G K G^T: 6 arrays [P, C, F], one for each place along a row."""


def transform_kernel(kernel: jax.Array) -> Kernels:
    """G K G^T of a kernel [3, 3, C, F]."""
    flat = kernel.reshape(9, -1)
    # One product for each array: slices of one large array would be copied.
    return tuple(
        (np.kron(_G, column) @ flat).reshape(WINDOW, *kernel.shape[2:]) for column in _G[:, None]
    )


def fits(height: int, width: int) -> bool:
    """Whether images of H x W have a whole tile."""
    return min(height, width) >= TILE


def convolve(
    x: jax.Array,
    kernels: Kernels,
    bias: jax.Array | None = None,
    *,
    above: jax.Array | None = None,
    below: jax.Array | None = None,
    relu: bool = False,
    pool: bool = False,
) -> jax.Array:
    """A 3x3 convolution with zeros around the image, and what follows it while it is in the cache.

    Args:
      x: float32 [B, H, W, C], at least 4 x 4.
      kernels: as from `transform_kernel`.
      bias: [F], added.
      above: [B, 1, W, C], the row before the first one in place of zeros.
      below: [B, 1, W, C], the row after the last one in place of zeros.
      relu: max(0, y) of the sum.
      pool: the maxima of 2x2 pixels of that; H and W must be even.

    Returns:
      [B, H, W, F], pooled [B, H / 2, W / 2, F].
    """
    batch, height, width, _ = x.shape
    features, share = kernels[0].shape[-1], 2 if pool else 1
    read = _Strips(x, above, below)
    _, back = _bands(read.rows)

    def strip(k, found):
        image, first, transformed = read(k)
        products = [
            jnp.einsum("ptc,pcf->ptf", columns, kernel)
            for columns, kernel in zip(transformed, kernels, strict=True)
        ]
        tiles = jnp.stack(_combined(_AT, products), axis=2)  # [P, R J, 4, F]
        y = back @ tiles.reshape(WINDOW * read.rows, -1)
        y = y.reshape(TILE * read.rows, -1, features)[:, :width]
        if bias is not None:
            y = y + bias[None, None]
        if relu:
            y = jnp.maximum(y, 0)
        if pool:
            y = functools.reduce(jnp.maximum, (y[i::2, j::2] for i in (0, 1) for j in (0, 1)))
        return lax.dynamic_update_slice(found, y[None], (image, first // share, 0, 0))

    found = jnp.zeros((batch, height // share, width // share, features), x.dtype)
    return lax.fori_loop(0, batch * read.strips, strip, found)


def kernel_gradient(
    x: jax.Array, dy: jax.Array, *, above: jax.Array | None = None, below: jax.Array | None = None
) -> jax.Array:
    """dK [3, 3, C, F] from the input and the gradient of the result.

    Args:
      x: float32 [B, H, W, C], at least 4 x 4.
      dy: [B, H, W, F].
      above: as in `convolve`.
      below: as in `convolve`.
    """
    channels, features = x.shape[-1], dy.shape[-1]
    # The sums [P, C, F] are read and written once for a strip: its tiles should outweigh them.
    read = _Strips(x, above, below, tiles=max(channels, features))
    _, back = _bands(read.rows)
    size = TILE * read.rows

    def strip(k, sums):
        image, first, transformed = read(k)
        rows = lax.dynamic_slice(dy, (image, first, 0, 0), (1, size, dy.shape[2], features))[0]
        # The last strip overlaps the one before, whose rows must not be counted twice.
        counted = first + jnp.arange(size) >= (k % read.strips) * size
        rows = jnp.where(counted[:, None, None], rows, 0)
        rows = jnp.pad(rows, ((0, 0), (0, TILE * read.tiles - dy.shape[2]), (0, 0)))
        tiles = (back.T @ rows.reshape(size, -1)).reshape(WINDOW, -1, TILE, features)
        products = _combined(_AT.T, [tiles[:, :, column] for column in range(TILE)])
        return tuple(
            total + jnp.einsum("ptc,ptf->pcf", columns, product)
            for total, columns, product in zip(sums, transformed, products, strict=True)
        )

    sums = (jnp.zeros((WINDOW, channels, features), x.dtype),) * WINDOW
    sums = lax.fori_loop(0, len(x) * read.strips, strip, sums)
    dk = sum(
        np.kron(_G, column).T @ total.reshape(WINDOW, -1)
        for column, total in zip(_G[:, None], sums, strict=True)
    )
    return dk.reshape(3, 3, channels, features)


class _Strips:
    """Transformed strips of images: `read(k)` for k below B times `strips`.

    Attributes:
      rows: R.
      tiles: J.
      strips: of an image. The last one ends at the last row, so it may overlap the one before.
    """

    def __init__(self, x, above, below, tiles=_TILES):
        height, width = x.shape[1:3]
        self._x, self._above, self._below = x, above, below
        self.tiles = -(-width // TILE)
        most = min(-(-tiles // self.tiles), height // TILE)
        self.strips = -(-height // (TILE * most))
        self.rows = -(-height // (TILE * self.strips))  # so that strips overlap little
        self._into, _ = _bands(self.rows)

    def __call__(self, k):
        """(image, first row, 6 arrays [P, R J, C]: B^T X B)."""
        _, height, width, channels = self._x.shape
        image, size = k // self.strips, TILE * self.rows
        first = jnp.minimum(size * (k % self.strips), height - size)
        have = min(size + 2, height)
        start = jnp.clip(first - 1, 0, height - have)
        rows = [lax.dynamic_slice(self._x, (image, start, 0, 0), (1, have, width, channels))[0]]
        place = [start + jnp.arange(have)]  # in the image, of what is read
        for row, index in ((self._above, -1), (self._below, height)):
            if row is not None:
                rows.append(lax.dynamic_index_in_dim(row, image, keepdims=False))
                place.append(jnp.full(1, index))
        widths = ((0, 0), (1, TILE * self.tiles + 1 - width), (0, 0))
        x = jnp.pad(jnp.concatenate(rows), widths)
        # Rows that the strip needs and nobody has are zeros: no entry of this matrix is 1.
        needed = first - 1 + jnp.arange(size + 2)
        choice = (needed[:, None] == jnp.concatenate(place)[None]).astype(x.dtype)
        mixed = (self._into @ choice) @ x.reshape(len(x), -1)
        mixed = mixed.reshape(WINDOW, self.rows, -1, channels)
        end = TILE * (self.tiles - 1) + 1
        columns = [mixed[:, :, column : column + end : TILE] for column in range(WINDOW)]
        columns = [found.reshape(WINDOW, -1, channels) for found in columns]
        return image, first, _combined(_BT, columns)


@functools.cache
def _bands(rows):
    """B^T [P R, 4 R + 2] and A^T [4 R, P R] of a strip of R rows of tiles."""
    into = np.zeros((WINDOW, rows, TILE * rows + 2), np.float32)
    back = np.zeros((rows, TILE, WINDOW, rows), np.float32)
    for row in range(rows):
        into[:, row, TILE * row : TILE * row + WINDOW] = _BT
        back[row, :, :, row] = _AT
    return into.reshape(-1, into.shape[-1]), back.reshape(TILE * rows, -1)


def _combined(matrix, arrays):
    """The sums of arrays that the rows of a small matrix ask for."""
    return [
        sum(float(factor) * array for factor, array in zip(row, arrays, strict=True) if factor)
        for row in matrix
    ]
