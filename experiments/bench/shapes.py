"""What is timed: one ReNet layer of some shape, and the least work that computes it.

Dimension key: `B H W C` image axes, `I J` rows and columns of patches, `D` features a sublayer
reads, `U` units per direction, `G` gates.
"""

import dataclasses
import math

from reseg_jax.recurrent.linear_cells import LINEAR_CELLS
from reseg_jax.recurrent.sweep import GATES

MODES = {
    "forward": "forward",
    "weights": "forward + backward, gradients of the weights",
    "input": "forward + backward, gradients of the weights and the input",
}


@dataclasses.dataclass(frozen=True)
class Layer:
    """A ReNet layer on a batch of images; every number that its time depends on."""

    batch: int
    height: int
    width: int
    channels: int
    units: int
    patch: int = 1
    cell: str = "gru"

    @property
    def grid(self) -> tuple[int, int]:
        """(I, J)."""
        return math.ceil(self.height / self.patch), math.ceil(self.width / self.patch)

    @property
    def image_shape(self) -> tuple[int, int, int, int]:
        """[B, H, W, C]."""
        return self.batch, self.height, self.width, self.channels

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """[B, I, J, 2 U]."""
        return self.batch, *self.grid, 2 * self.units

    @property
    def features(self) -> tuple[int, int]:
        """D of the vertical and of the horizontal sublayer."""
        return self.patch**2 * self.channels, 2 * self.units

    def __str__(self):
        rows, columns = self.grid
        reads, _ = self.features
        return (
            f"{self.cell}, batch {self.batch}, grid {rows}x{columns}, "
            f"{reads} features in, {self.units} units per direction"
        )


def flops(layer: Layer, mode: str) -> float:
    """Floating point operations of only the matrix products, two per multiply-add.

    Forward: x W and h U. Backward: as many again for the gradients of the weights, and as many
    for those of x and h; that of the layer's input is left out unless it is asked for.
    """
    gates = len(GATES[layer.cell])
    cells = layer.batch * math.prod(layer.grid)
    kernel_rows = [features + _state_rows(layer) for features in layer.features]
    a_row = 2 * cells * 2 * gates * layer.units  # two directions
    if mode == "forward":
        return a_row * sum(kernel_rows)
    unasked = layer.features[0] if mode == "weights" else 0
    return a_row * (3 * sum(kernel_rows) - unasked)


def _state_rows(layer):
    """Rows of the recurrent kernel; 0 if the gates read only the input."""
    return 0 if layer.cell in LINEAR_CELLS else layer.units


def bytes_moved(layer: Layer, mode: str) -> float:
    """Least traffic with main memory, in bytes of float32, if only the outputs are stored.

    Forward: a sublayer reads its input and writes its output. Backward: it reads both again and
    the output's gradient, and writes its input's. Weights are too small to count.
    """
    cells = layer.batch * math.prod(layer.grid)
    reads, writes = layer.features, 2 * layer.units
    numbers = sum(read + writes for read in reads)
    if mode != "forward":
        numbers += sum(read + 2 * writes for read in reads) + reads[1]
    if mode == "input":
        numbers += reads[0]
    return 4 * cells * numbers


# The grid, features and units of the released CamVid network; batch 1 predicts, 4 trains.
def camvid(batch: int, cell: str, quick: bool) -> Layer:
    """A 360x480 frame after conv3_3 of VGG-16 (quick: a quarter of its height and width)."""
    height, width = (24, 30) if quick else (90, 120)
    return Layer(batch, height, width, channels=256, units=100, cell=cell)


def pixels(batch: int, cell: str, quick: bool) -> Layer:
    """Raw RGB in 2x2 patches: an ImageNet crop (quick: a quarter of its height and width)."""
    side = 56 if quick else 224
    return Layer(batch, side, side, channels=3, units=100, patch=2, cell=cell)


def scaling(cell: str, quick: bool) -> dict[str, list[Layer]]:
    """Growth with H, W, B and U from one base, and with all of the grid and the units at once."""
    base = Layer(1, 32, 32, 64, 32, cell=cell) if quick else Layer(1, 64, 64, 256, 100, cell=cell)
    sizes = (16, 32) if quick else (32, 64, 128, 256)
    batches = (1, 2) if quick else (1, 2, 4, 8)
    units = (16, 32) if quick else (50, 100, 200, 256)
    squares = ((16, 32),) if quick else ((128, 100), (128, 256), (256, 100), (256, 256))

    def grown(name, values):
        return [dataclasses.replace(base, **{name: value}) for value in values]

    return {
        "height": grown("height", sizes),
        "width": grown("width", sizes),
        "batch": grown("batch", batches),
        "units": grown("units", units),
        "grid and units": [
            dataclasses.replace(base, height=side, width=side, units=unit) for side, unit in squares
        ],
    }
