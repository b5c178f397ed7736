"""A context module: layers whose dilation grows, so that few of them see far without pooling.

Paper: Yu and Koltun, "Multi-scale context aggregation by dilated convolutions", ICLR 2016, section
3 and table 1.

    x -> max(0, 3x3 convolution of x)      for dilations 1, 1, 2, 4, 8, 16, 1
         of 1, 1, 1, 1, 1, 1, 1 (basic) or 2, 2, 4, 8, 16, 32, 32 (large) times C channels

The paper's eighth layer is a 1x1 convolution to C channels without the maximum, which it calls
"truncation": the classifier of the network. After each layer a cell sees 3, 5, 9, 17, 33, 65, 67
and 67 cells along an axis.

A layer begins as (nearly) the identity, equations 4 and 5. Of c maps in and d out, C divides both;
c / C and d / C of them belong to each class, and map b begins as

    C / max(c, d) times the sum of the maps in of its class, plus noise where there are others

so that the basic module begins by returning what it reads if nothing of it is negative, and the
large one, whose widest layers divide each map among 32, a 32nd of it. Zeros are around all maps.

Dimension key: `B h w` cells, `C` classes.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from reseg_jax.layers.conv import Convolution
from reseg_jax.layers.initializers import Initializer, gaussian

DILATIONS = (1, 1, 2, 4, 8, 16, 1)
"""Of the 3x3 convolutions, table 1."""


class Form(NamedTuple):
    """What tells the two modules of table 1 apart.

    Attributes:
      widths: channels of each layer, in numbers of classes.
      noise: deviation of what a layer begins with beside the identity, in shares of C / d. The
        paper asks for far less than 1; a hundredth is our choice.
    """

    widths: tuple[int, ...]
    noise: float


FORMS = {
    "basic": Form((1,) * 7, 0.0),
    "large": Form((2, 2, 4, 8, 16, 32, 32), 0.01),
}
"""Name in table 1 -> form."""


def block_identity(classes: int, noise: float = 0.0) -> Initializer:
    """The kernel that keeps each class with itself, see the top of this file.

    Args:
      classes: C, which divides the numbers of maps.
      noise: see `Form`.

    Returns:
      An initializer of kernels [..., c, d].
    """

    def init(key, shape, dtype=jnp.float32):
        *window, inputs, outputs = shape
        of_input, of_output = (np.arange(maps) * classes // maps for maps in (inputs, outputs))
        same_class = of_input[:, None] == of_output
        kernel = gaussian(noise * classes / outputs)(key, shape, dtype)
        center = tuple(size // 2 for size in window)
        identity = jnp.asarray(classes / max(inputs, outputs), dtype)
        return kernel.at[center].set(jnp.where(same_class, identity, kernel[center]))

    return init


class ContextModule(nn.Module):
    """[B, h, w, C] -> [B, h, w, widths[-1] C]: the layers but for the last, 1x1 one.

    Parameters are below `layer_1`, `layer_2`, ...

    Attributes:
      classes: C.
      widths: see `Form`.
      dilations: of each layer.
      noise: see `Form`.
      dtype: of products, see `reseg_jax.layers.mixed`; None: x's.
    """

    classes: int
    widths: tuple[int, ...]
    dilations: tuple[int, ...] = DILATIONS
    noise: float = 0.0
    dtype: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        start = block_identity(self.classes, self.noise)
        for i, (width, dilation) in enumerate(zip(self.widths, self.dilations, strict=True), 1):
            x = Convolution(
                width * self.classes,
                dilation=dilation,
                relu=True,
                kernel_init=start,
                dtype=self.dtype,
                name=f"layer_{i}",
            )(x)
        return x
