"""The head, or all of the network, in training and in inference, as a user of the library has them.

Dimension key: `B H W` image axes, `I J` cells of the feature map, `C` channels, `K` classes.
"""

import functools
from collections.abc import Callable
from unittest import mock

import jax
import numpy as np

import reseg_jax
from experiments.bench import programs
from experiments.bench.timing import Program, timed
from reseg_jax import api
from reseg_jax.config import VGG_LAYERS, ReSegConfig
from reseg_jax.devices import everywhere
from reseg_jax.layers import conv
from reseg_jax.layers.upsample import TransposedConv, arrange
from reseg_jax.recurrent.renet import renet_layer
from reseg_jax.training import optimizers
from reseg_jax.training.step import create_state, make_train_step

XLA_GRADIENTS = "ours, XLA's gradient of kernels"
PARTS = ("network", "VGG", "sweeps", "upsampling and classifier")


def random_variables(config: ReSegConfig) -> dict:
    """Weights of the whole network, VGG included."""
    init = functools.partial(api.init, config)
    return programs.random_like(np.random.default_rng(0), init, jax.random.key(0))


def random_batch(config: ReSegConfig, batch: int, size: tuple[int, int]) -> dict:
    """What training reads of images of `size`, and their labels.

    Features as the cache has them, but float32; pixels where the VGG is trained as well.
    """
    rng = np.random.default_rng(0)
    channels, stride = (3, 1) if config.finetune_vgg else VGG_LAYERS[config.vgg_layer]
    cells = [-(-side // stride) for side in size]
    return {
        "image": rng.standard_normal((batch, *cells, channels), np.float32),
        "label": rng.integers(0, config.num_classes, (batch, *size), np.uint8),
        "weight": np.ones(batch, np.float32),
    }


def logits_function(config: ReSegConfig) -> Callable:
    """The network that is trained: all of it, or the head, which reads features."""

    def logits_fn(variables, inputs, size):
        if config.finetune_vgg:
            return api.apply(config, variables, inputs)
        return api.head(config, variables, inputs, size)

    return logits_fn


def train_step(config: ReSegConfig, batch: int, size: tuple[int, int]) -> Program:
    """One update of what `config` trains by Adadelta; no L2 term, as torch's has none."""
    optimizer = optimizers.make("adadelta")
    variables = random_variables(config)
    state = everywhere(create_state(variables, optimizer))

    step = make_train_step(logits_function(config), optimizer)
    return programs.compiled(step, state, everywhere(random_batch(config, batch, size)))


def with_xla_gradients(build: Callable[[], Program]) -> Program:
    """The program that `build` makes where XLA finds the gradients of convolutions' kernels."""
    jax.clear_caches()  # or JAX takes the traces that it has, with ours in them
    with mock.patch.object(conv, "_by_rows", conv._by_convolution):
        program = build()
    jax.clear_caches()
    return program


def predict(config: ReSegConfig, size: tuple[int, int], part: str) -> Program:
    """One frame of `size` through `reseg_jax.predict`, or through a part of it, in `PARTS`."""
    variables, rng = random_variables(config), np.random.default_rng(0)
    frame = rng.integers(0, 256, (*size, 3), np.uint8)
    if part == "network":
        run = functools.partial(reseg_jax.predict, config, variables, frame)
        return Program(functools.partial(timed, run), compile_seconds=timed(run))
    channels, stride = VGG_LAYERS[config.vgg_layer]
    cells = [-(-side // stride) for side in size]
    functions = {
        "VGG": (functools.partial(api.features, config), variables, (*size, 3)),
        "sweeps": (functools.partial(sweeps, config), variables["params"], (*cells, channels)),
        "upsampling and classifier": (
            functools.partial(upsampling, config),
            variables["params"],
            (*cells, 2 * config.units[-1]),
        ),
    }
    function, values, shape = functions[part]
    image = frame[None] if part == "VGG" else rng.standard_normal((1, *shape), np.float32)
    return programs.compiled(jax.jit(function), *programs.on_all(values, image))


def sweeps(config: ReSegConfig, params: dict, x: jax.Array) -> jax.Array:
    """The ReNet layers: [B, I, J, C] -> [B, I, J, 2 U]."""
    for i, patch_size in enumerate(config.patch_sizes):
        x = renet_layer(params[f"renet_{i}"], x, patch_size, config.cell, config.order)
    return x


def upsampling(config: ReSegConfig, params: dict, x: jax.Array) -> jax.Array:
    """What follows them: [B, I, J, 2 U] -> labels [B, H, W]."""
    layers = zip(config.upsample_channels, config.upsample_sizes, strict=True)
    for i, (channels, size) in enumerate(layers):
        x = arrange(x) if i else x
        x = TransposedConv(channels, size).apply({"params": params[f"upsample_{i}"]}, x)
    classifier = params["classifier"]
    return arrange(x @ classifier["kernel"] + classifier["bias"]).argmax(axis=-1)
