"""ReNet layers one after the other: each reads patches of what the one before has put in context.

Paper: Visin et al., "ReSeg", CVPR workshops 2016, section 3.1. Layer normalization, dropout and
layers without sweeps are not in the paper.

Dimension key: `B H W` image axes, `I J` cells of the last layer, `C` channels, `U` units of a
direction.
"""

import math

import flax.linen as nn
import jax

from reseg_jax.errors import UserError, check_choice
from reseg_jax.layers.renet import INITIALIZATIONS, Pointwise, ReNet
from reseg_jax.padding import valid_cells
from reseg_jax.recurrent.execution import Execution
from reseg_jax.recurrent.sweep import GATES

CONTEXTS = ("renet", "pointwise")
ORDERS = (("vertical", "horizontal"), ("horizontal", "vertical"))


def check(cell: str, order: tuple[str, str], initialization: str, context: str) -> None:
    """Checks what the layers of a `ReNetStack` are to be.

    Args:
      cell, order, initialization, context: its fields.

    Raises:
      UserError: one is unknown, or the cell has nothing that is drawn in this way.
    """
    check_choice("cell", cell, GATES)
    check_choice("order", order, ORDERS)
    check_choice("initialization", initialization, INITIALIZATIONS)
    check_choice("context", context, CONTEXTS)
    if cell == "mingru" and initialization == "normal":
        raise UserError(
            "initialization=normal is for recurrent kernels, and mingru has none: leave it out"
        )


def cell_size(stride: int, patch_sizes: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """Image pixels that a cell of the last layer spans, (height, width).

    Args:
      stride: pixels per cell of what the first layer reads.
      patch_sizes: as for `ReNetStack`.
    """
    return tuple(stride * math.prod(sizes) for sizes in zip(*patch_sizes, strict=True))


class ReNetStack(nn.Module):
    """[B, H, W, C] -> [B, I, J, 2 U]; parameters are below `renet_0`, `renet_1`, ...

    Attributes:
      units: U of each layer.
      patch_sizes: (height, width) of what each layer reads at once.
      cell, order, chained, initialization: as for `ReNet`.
      context: "renet", or "pointwise" for 1x1 convolutions of the same width in place of sweeps.
      layer_norm: normalize the channels of what a layer reads.
      dropout: share of what a layer gives that is dropped, if there is a random key called
        "dropout".
      execution: how sweeps are computed.
      dtype: of products, see `reseg_jax.layers.mixed`; None: x's.
    """

    units: tuple[int, ...]
    patch_sizes: tuple[tuple[int, int], ...]
    cell: str = "gru"
    order: tuple[str, str] = ("vertical", "horizontal")
    chained: bool = False
    initialization: str = "orthonormal"
    context: str = "renet"
    layer_norm: bool = False
    dropout: float = 0.0
    execution: Execution = Execution()
    dtype: str | None = None

    def _layer(self, number):
        shared = {"units": self.units[number], "patch_size": self.patch_sizes[number]}
        shared |= {"dtype": self.dtype, "name": f"renet_{number}"}
        if self.context == "pointwise":
            return Pointwise(**shared)
        execution = self.execution
        return ReNet(
            **shared,
            cell=self.cell,
            order=self.order,
            chained=self.chained,
            initialization=self.initialization,
            unroll=True if execution.unroll == "all" else execution.unroll,
            remat=execution.remat,
            implementation=execution.implementation,
        )

    @nn.compact
    def __call__(
        self, x: jax.Array, valid_size: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array | None]:
        """The cells, and how many of them count.

        Args:
          x: [B, H, W, C].
          valid_size: pixels of x that count, int32 [2] or [B, 2] (`reseg_jax.padding`), or None.

        Returns:
          ([B, I, J, 2 U], the cells' valid size or None).
        """
        for number, patch_size in enumerate(self.patch_sizes):
            if self.layer_norm:
                # No scale and shift of its own: the linear map that follows has both.
                x = jax.nn.standardize(x)
            x = self._layer(number)(x, valid_size)
            valid_size = None if valid_size is None else valid_cells(valid_size, patch_size)
            if self.dropout:
                x = nn.Dropout(self.dropout, deterministic=not self.has_rng("dropout"))(x)
        return x, valid_size
