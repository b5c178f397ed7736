"""VGG-16's 3x3 convolutions with bias and ReLU: ours beside XLA's, one by one and as a whole.

Dimension key: `B H W` image axes, `C` channels in, `F` channels out.
"""

import dataclasses
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import numpy as np
from jax import lax

from experiments.bench import programs
from experiments.bench.ours import ONE_DEVICE, OURS
from experiments.bench.timing import Program
from reseg_jax.backbones.vgg import VGG, VGG16
from reseg_jax.layers import conv
from reseg_jax.layers.pooling import max_pool

XLA_ONE_DEVICE = "XLA's convolution, one device"
XLA = "XLA's convolution, divided"
ONE_DEVICE_ROWS = (ONE_DEVICE, XLA_ONE_DEVICE)
MODES = ("forward", "input")  # of `shapes.MODES`: nobody trains only some of the gradients
LAST = ("conv3_3", "conv5_3")  # what ReSeg reads, and all 13 convolutions


@dataclasses.dataclass(frozen=True)
class Conv:
    """A 3x3 convolution of one or more images; every number that its time depends on."""

    height: int
    width: int
    channels: int
    features: int
    batch: int = 1

    @property
    def image_shape(self) -> tuple[int, int, int, int]:
        """[B, H, W, C]."""
        return self.batch, self.height, self.width, self.channels

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """[B, H, W, F]."""
        return *self.image_shape[:3], self.features

    def flops(self, mode: str) -> int:
        """Operations of the direct sum, two per multiply-add; three sums with both gradients."""
        sums = 1 if mode == "forward" else 3
        return sums * 2 * 9 * math.prod(self.image_shape) * self.features

    def __str__(self):
        return f"{self.height}x{self.width}, {self.channels} -> {self.features} channels"


def vgg(quick: bool) -> list[Conv]:
    """The distinct convolutions of VGG-16 on a 480x360 frame (quick: a small one)."""
    if quick:
        return [Conv(24, 32, 32, 64)]
    return [
        Conv(360, 480, 64, 64),
        Conv(180, 240, 64, 128),
        Conv(180, 240, 128, 128),
        Conv(90, 120, 128, 256),
        Conv(90, 120, 256, 256),
        Conv(45, 60, 256, 512),
        Conv(45, 60, 512, 512),
        Conv(22, 30, 512, 512),
    ]


def names() -> list[str]:
    """The rows of JAX, the library's default first."""
    return [OURS, ONE_DEVICE, XLA_ONE_DEVICE, XLA] if jax.device_count() > 1 else [OURS, XLA]


def random_inputs(shape: Conv) -> tuple[dict, np.ndarray, np.ndarray]:
    """({"kernel", "bias"}, image [B, H, W, C], cotangent [B, H, W, F]): NumPy float32."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((3, 3, shape.channels, shape.features), np.float32)
    params = {
        "kernel": kernel / np.float32(math.sqrt(9 * shape.channels)),
        "bias": rng.standard_normal(shape.features, np.float32),
    }
    image = rng.standard_normal(shape.image_shape, np.float32)
    return params, image, rng.standard_normal(shape.output_shape, np.float32)


def function(name: str, mode: str, params: dict) -> tuple[Callable, dict]:
    """`(params, image [B, H, W, C]) -> [B, H, W, F]` of a row, and its parameters made of ours.

    In inference our kernels are transformed ahead; what is trained changes with every step.
    """
    if not name.startswith(OURS):
        return by_xla, params
    if mode == "forward":
        params = params | {"transformed": conv.prepare(params).get("kernel")}
    return by_us, params


def by_us(params: dict, image: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, H, W, F] as the library's networks compute it."""
    return conv.conv_relu(image, params["kernel"], params["bias"], params.get("transformed"))


def by_xla(params: dict, image: jax.Array) -> jax.Array:
    """The same by XLA's convolution."""
    dimensions = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(
        image, params["kernel"], (1, 1), "SAME", dimension_numbers=dimensions
    )
    return nn.relu(y + params["bias"][None, None, None])


def program(name: str, mode: str, inputs: tuple) -> Program:
    """Row `name` in a mode of `MODES`, on `inputs` of `random_inputs`."""
    params, *images = inputs
    run, params = function(name, mode, params)
    return _placed(name, programs.in_mode(run, mode), params, *images)


def vgg_by_xla(params: dict, pixels: jax.Array, last: str) -> jax.Array:
    """Preprocessed [B, H, W, 3] -> the map of convolution `last` of VGG-16, by XLA's."""
    x, backbone, stride = pixels, VGG16(), 1
    for name in backbone.layers((last,)):
        if backbone.tap(name).stride > stride:
            x, stride = max_pool(x), backbone.tap(name).stride
        x = by_xla(params[name], x)
    return x


def whole(name: str, last: str, size: tuple[int, int]) -> Program:
    """Row `name` for VGG-16 from one frame of `size` (H, W) to convolution `last`, forward."""
    network, rng = VGG(VGG16(), (last,)), np.random.default_rng(0)
    pixels = rng.standard_normal((1, *size, 3), np.float32)
    params = programs.random_like(rng, network.init, jax.random.key(0), pixels)["params"]
    if not name.startswith(OURS):
        return _placed(name, lambda params, x: vgg_by_xla(params, x, last), params, pixels)
    variables = {"params": params, conv.TRANSFORMED: conv.prepare(params)}
    return _placed(name, lambda variables, x: network.apply(variables, x)[last], variables, pixels)


def _placed(name, run, params, *images):
    """The program on all devices, or on the first one with all of XLA's threads."""
    if name not in ONE_DEVICE_ROWS:
        return programs.compiled(run, *programs.on_all(params, *images))
    return programs.confined_to_one_device(
        lambda: programs.compiled(run, *programs.on_one((params, *images)))
    )
