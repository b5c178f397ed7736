"""Dilated convolutions as products of whole maps with matrices, one per entry of the kernel.

    y[i, j] = sum_{a, b} x[i + r a, j + r b] K[a, b]

Each term is a shifted map times a matrix, and so are both gradients. XLA's own gradients of a
dilated convolution are slow on CPUs: for that of the kernel it slides all of dy over x.

Dimension key: `B H W` image axes, `C` channels in, `F` channels out, `r` dilation.
"""

import jax
import jax.numpy as jnp


def by_products(x: jax.Array, kernel: jax.Array, padding: str, dilation: int) -> jax.Array:
    """A dilated convolution of stride 1.

    Args:
      x: [B, H, W, C].
      kernel: [h, w, C, F].
      padding: "SAME", zeros around the image, one more at its end if their number is odd; or
        "VALID".
      dilation: r.

    Returns:
      [B, H, W, F]; with the padding "VALID" r (h - 1) rows and r (w - 1) columns less.
    """
    h, w = kernel.shape[:2]
    reach = (dilation * (h - 1), dilation * (w - 1))
    if padding == "SAME":
        around = [(pixels // 2, pixels - pixels // 2) for pixels in reach]
        x = jnp.pad(x, ((0, 0), *around, (0, 0)))
    rows, columns = (side - pixels for side, pixels in zip(x.shape[1:3], reach, strict=True))
    return sum(
        x[:, dilation * a :, dilation * b :][:, :rows, :columns] @ kernel[a, b]
        for a in range(h)
        for b in range(w)
    )
