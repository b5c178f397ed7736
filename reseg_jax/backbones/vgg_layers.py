"""The layers of VGG-16, and what their names say.

Paper: Simonyan and Zisserman 2015, table 1, column D.
"""

CONVOLUTIONS = (2, 2, 3, 3, 3)
"""How many each block has before its pooling."""

CHANNELS = (64, 128, 256, 512, 512)
"""Of the convolutions of each block."""

VGG_LAYERS = {
    f"conv{block}_{index}": (channels, 2 ** (block - 1))
    for block, (channels, count) in enumerate(zip(CHANNELS, CONVOLUTIONS, strict=True), start=1)
    for index in range(1, count + 1)
}
"""Name -> (output channels, stride) of the 13 convolutions, in order."""

FULLY_CONNECTED = {"fc6": (7, 7), "fc7": (1, 1)}
"""Name -> size of the kernel that it has as a convolution; pool5 of 224x224 pixels is 7x7."""


def _names():
    """Every map in the order in which it is computed."""
    for block, count in enumerate(CONVOLUTIONS, start=1):
        yield from (f"conv{block}_{index}" for index in range(1, count + 1))
        yield f"pool{block}"
    yield from FULLY_CONNECTED


TAPS = tuple(_names())
"""conv1_1, conv1_2, pool1, ..., conv5_3, pool5, fc6, fc7: convolutions are read after the ReLU."""

SWITCHES = {f"switches{block}": f"pool{block}" for block in range(1, len(CONVOLUTIONS) + 1)}
"""More maps: where in its window each maximum of a pooling was, see `max_pool_with_switches`."""


def is_pool(name: str) -> bool:
    """Whether a map of `TAPS` is a pooling's."""
    return name.startswith("pool")


def block_of(name: str) -> int:
    """The number of the block in conv3_1 or pool3."""
    return int(name.removeprefix("conv").removeprefix("pool")[0])


def full_stride(name: str) -> int:
    """Image pixels per cell of a map of `TAPS` if every pooling halves its map."""
    above = len(CONVOLUTIONS) if name in FULLY_CONNECTED else block_of(name) - 1
    return 2 ** (above + is_pool(name))
