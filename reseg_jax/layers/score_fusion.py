"""Scores of maps at several strides, added up from the deepest to the finest.

Paper: Long, Shelhamer and Darrell, "Fully convolutional networks for semantic segmentation",
CVPR 2015, sections 3 and 4.

    x = score(deepest map)
    x = upsample(x, 2) + score(map)             for each finer map

Upsamplings by 2 are transposed convolutions that begin as bilinear interpolation and are trained
(section 4.3). The score of the finest map is called `classifier`: its bias reaches every logit as
it is.

Dimension key: `B` images, `h w` cells, `C` channels, `K` outputs.
"""

import flax.linen as nn
import jax

from reseg_jax.layers.fcn_geometry import add_score
from reseg_jax.layers.upsample import OverlappingTransposedConv


def score_layers(taps: tuple[str, ...]) -> dict[str, str]:
    """{map: the layer that scores it} of maps in the order of `ScoreFusion.taps`."""
    return {tap: f"score_{tap}" for tap in taps} | {taps[-1]: "classifier"}


def upsample_layers(taps: tuple[str, ...]) -> dict[str, str]:
    """{map: the layer that upsamples to it} of maps in the order of `ScoreFusion.taps`."""
    return {tap: f"upsample_to_{tap}" for tap in taps[1:]}


def layer_names(taps: tuple[str, ...]) -> tuple[str, ...]:
    """All layers of a `ScoreFusion`; each gives as many channels as there are outputs."""
    return (*score_layers(taps).values(), *upsample_layers(taps).values())


def begins_as(taps: tuple[str, ...], trained: tuple[str, ...]) -> dict[str, str | None]:
    """Where layers begin if a fusion of fewer maps was trained before: one that gives the same.

    What scores a map in FCN-32s scores it in FCN-16s, and then in FCN-8s. A map that is added is
    scored by zeros at the start and the upsampling to it is bilinear, so that each stage begins
    with what the one before gives (section 4.2).

    Args:
      taps: names of the maps, the deepest first.
      trained: those of the trained fusion.

    Returns:
      As `reseg_jax.networks.base.NetworkConfig.begins_as`.
    """
    before = score_layers(trained)
    scores = {name: before.get(tap) for tap, name in score_layers(taps).items()}
    added = [name for tap, name in upsample_layers(taps).items() if tap not in trained]
    return scores | dict.fromkeys(added)


class ScoreFusion(nn.Module):
    """{tap: [B, h, w, C]} -> [B, h', w', K] at the finest map's stride, see the top of this file.

    Parameters are below the names in `score_layers` and `upsample_layers`.

    Attributes:
      outputs: K.
      taps: names of the maps, the deepest first.
      scales: factors of all maps but the deepest before they are scored; more are not read.
      geometry: where the maps' cells lie, see `reseg_jax.layers.fcn_geometry`.
    """

    outputs: int
    taps: tuple[str, ...]
    scales: tuple[float, ...]
    geometry: str = "same"

    def _score(self, tap, x):
        # Section 4.3: "we zero-initialize the class scoring convolution layer".
        name, zeros = score_layers(self.taps)[tap], nn.initializers.zeros
        return nn.Dense(self.outputs, kernel_init=zeros, name=name)(x)

    @nn.compact
    def __call__(self, maps: dict[str, jax.Array]) -> jax.Array:
        x = self._score(self.taps[0], maps[self.taps[0]])
        crop = "full" if self.geometry == "published" else None
        for (tap, name), scale in zip(
            upsample_layers(self.taps).items(), self.scales, strict=False
        ):
            x = OverlappingTransposedConv(self.outputs, 2, crop, name=name)(x)
            x = add_score(x, self._score(tap, scale * maps[tap]), tap, self.geometry)
        return x
