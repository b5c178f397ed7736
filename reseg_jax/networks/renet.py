"""The ReNet classifier: recurrent sweeps in place of convolutions, and one class per image.

Paper: Visin, Kastner, Cho, Matteucci, Courville and Bengio, "ReNet: A recurrent neural network
based alternative to convolutional networks", arXiv 1505.00393, 2015, section 2 and figure 1.

    patches   each ReNet layer reads patches, 2x2 in the paper, of what the layer before it gives
    image     the mean of the last layer's cells; fully connected layers with ReLU
    logits    a linear layer, the image's at each of its pixels

The paper flattens the cells in place of averaging them, which fixes the image's size; the mean
takes any. As every pixel has its image's class, a mask is that class everywhere, and so training,
scores and predictions are those of the other networks: with images of one size, the share of right
pixels is the share of right images.

Dimension key: `B H W` image axes, `I J` cells, `C` channels, `K` outputs.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from reseg_jax.errors import UserError, check_choice
from reseg_jax.layers.conv import Convolution
from reseg_jax.layers.initializers import glorot_uniform, he_normal
from reseg_jax.layers.renet_stack import ReNetStack
from reseg_jax.networks.base import PIXELS, NetworkConfig, check_layers, check_no_backbone
from reseg_jax.padding import clear
from reseg_jax.recurrent.sweep import GATES


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReNetConfig(NetworkConfig):
    """A ReNet classifier (Visin et al. 2015). Without arguments: the one for CIFAR-10.

    Its sizes are from memory of the paper's table 1, which was not read again.

    Attributes:
      patch_sizes: (height, width) that each ReNet layer reads at once.
      units: of each layer, per direction.
      fc_channels: of the fully connected layers.
      cell: of the sweeps, a name in `reseg_jax.recurrent.sweep.GATES`.
    """

    num_classes: int = 10
    patch_sizes: tuple[tuple[int, int], ...] = ((2, 2), (2, 2), (2, 2))
    units: tuple[int, ...] = (320, 320, 320)
    fc_channels: tuple[int, ...] = (4096,)
    cell: str = "gru"

    def __post_init__(self):
        check_no_backbone("ReNet", self.backbone)
        super().__post_init__()
        check_choice("cell", self.cell, GATES)
        check_layers("patch_sizes", self.patch_sizes, "units", self.units)
        if min(self.fc_channels, default=1) < 1:
            raise UserError(f"fc_channels={self.fc_channels}: give numbers from 1")

    @property
    def exact_padding(self) -> bool:
        """Whether an image in a larger array gives what it gives by itself: sweeps and mean do.

        Not with local contrast normalization, whose windows are cut off at the array's end.
        """
        return self.contrast == "none"


def mean_of_cells(x: jax.Array, valid_size: jax.Array | None = None) -> jax.Array:
    """The mean over an image: [B, I, J, C] -> [B, 1, 1, C].

    Args:
      x: cells.
      valid_size: cells that count, int32 [2] or [B, 2] (`reseg_jax.padding`); of none it is 0.
    """
    over = {"axis": (1, 2), "keepdims": True}
    count = clear(jnp.ones((*x.shape[:3], 1), x.dtype), valid_size).sum(**over)
    return clear(x, valid_size).sum(**over) / jnp.maximum(count, 1)


class ReNetClassifier(nn.Module):
    """All of it: parameters below `renet_0`, ..., `fc_0`, ... and `classifier`."""

    config: ReNetConfig

    @nn.compact
    def __call__(
        self,
        maps: dict[str, jax.Array],
        *,
        train: bool = False,
        weight: jax.Array | None = None,
        valid_size: jax.Array | None = None,
    ) -> jax.Array:
        """Logits of preprocessed images, see `networks.base`.

        Args:
          maps: {"pixels": [B, H, W, 3]}.
          train, weight: not used; it does the same in training, and sees each image by itself.
          valid_size: pixels of the image, int32 [2] or [B, 2], that count (`reseg_jax.padding`).

        Returns:
          [B, H, W, K], all pixels of an image alike.
        """
        del train, weight
        config, x = self.config, maps[PIXELS]
        pixels = x.shape[:3]
        layers = ReNetStack(config.units, config.patch_sizes, config.cell, dtype=config.dtype)
        nn.share_scope(self, layers)  # its parameters are not one name deeper
        x, valid_size = layers(x, valid_size)
        x = mean_of_cells(x.astype(jnp.float32), valid_size)
        for i, channels in enumerate(config.fc_channels):
            shared = {"relu": True, "kernel_init": he_normal, "dtype": config.dtype}
            x = Convolution(channels, (1, 1), name=f"fc_{i}", **shared)(x)
        classifier = nn.Dense(config.outputs, kernel_init=glorot_uniform, name="classifier")
        return jnp.broadcast_to(classifier(x.astype(jnp.float32)), (*pixels, config.outputs))


Config, Network = ReNetConfig, ReNetClassifier
