"""The head, or all of the network, in training and in inference, as users of the library run them.

Dimension key: `B H W` image axes, `I J` cells of the feature map, `C` channels, `F` channels out,
`U` units per direction, `K` classes.
"""

import functools
from collections.abc import Callable

import jax
import numpy as np

import reseg_jax
from experiments.bench import programs
from experiments.bench.convolutions import vgg_by_xla
from experiments.bench.timing import Program, timed
from reseg_jax import api, devices
from reseg_jax.backbones.preprocessing import preprocess
from reseg_jax.layers.upsample import TransposedConv, depth_to_space
from reseg_jax.networks.reseg import ReSegConfig
from reseg_jax.recurrent.renet import renet_layer
from reseg_jax.training import optimizers
from reseg_jax.training.losses import Loss
from reseg_jax.training.step import create_state, make_train_step

NOT_PREPARED = "ours, not prepared"
XLA_GRADIENTS = "ours, XLA's gradient of kernels"
PARTS = ("network", "VGG", "sweeps", "upsampling and classifier")


def random_variables(config: ReSegConfig) -> dict:
    """Random weights of the whole network, VGG included, NumPy float32; see `api.init`."""
    init = functools.partial(api.init, config)
    return programs.random_like(np.random.default_rng(0), init, jax.random.key(0))


def random_batch(config: ReSegConfig, batch: int, size: tuple[int, int]) -> dict:
    """What training reads of images, and their labels.

    Args:
      config: the network. If its VGG is frozen, the batch holds features as the cache has them,
        but float32; otherwise pixels.
      batch: B, images.
      size: (H, W) of the images in pixels.

    Returns:
      {"image": float32 {tap: [B, I, J, C]} or [B, H, W, 3], "label": uint8 [B, H, W], "weight":
      float32 [B]}.
    """
    rng = np.random.default_rng(0)
    if config.frozen:
        channels, stride = config.backbone.tap(config.tap)
        cells = [-(-side // stride) for side in size]
        image = {config.tap: rng.standard_normal((batch, *cells, channels), np.float32)}
    else:
        image = rng.standard_normal((batch, *size, 3), np.float32)
    return {
        "image": image,
        "label": rng.integers(0, config.num_classes, (batch, *size), np.uint8),
        "weight": np.ones(batch, np.float32),
    }


def train_step(
    config: ReSegConfig, batch: int, size: tuple[int, int], logits_fn: Callable | None = None
) -> Program:
    """One update by Adadelta of what `config` trains; no L2 term, as torch's has none.

    Args:
      config: the network.
      batch: images.
      size: (H, W) of the images in pixels.
      logits_fn: the network's function; None takes `api.build(config).logits`.

    Returns:
      The compiled program.
    """
    optimizer = optimizers.make("adadelta")
    state = devices.everywhere(create_state(random_variables(config), optimizer))
    step = make_train_step(logits_fn or api.build(config).logits, optimizer, Loss())
    return programs.compiled(step, state, devices.everywhere(random_batch(config, batch, size)))


def logits_with_xla_gradients(config: ReSegConfig) -> Callable:
    """`api.build(config).logits` of images in training, with plain convolutions in the VGG.

    The library has a gradient of its own for the kernels of convolutions on CPUs
    (`reseg_jax.layers.conv`); here XLA finds it.
    """

    def logits(variables, images, size, **_):
        pixels = devices.spread(preprocess(images, config.preprocessing))
        maps = {config.tap: vgg_by_xla(variables["params"]["vgg"], pixels, config.tap)}
        return api.head(config, variables, maps, size), {}

    return logits


def predict(
    config: ReSegConfig, size: tuple[int, int], part: str, prepared: bool = True
) -> Program:
    """One frame through `reseg_jax.predict`, or through a part of the network.

    Args:
      config: the network.
      size: (H, W) of the frame in pixels.
      part: a name in `PARTS`.
      prepared: by `reseg_jax.prepare`, as commands do.

    Returns:
      The compiled program.
    """
    variables, rng = random_variables(config), np.random.default_rng(0)
    if prepared:
        variables = api.prepare(config, variables)
    frame = rng.integers(0, 256, (*size, 3), np.uint8)
    if part == "network":
        run = functools.partial(reseg_jax.predict, config, variables, frame)
        return Program(functools.partial(timed, run), compile_seconds=timed(run))
    channels, stride = config.backbone.tap(config.tap)
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
        x = depth_to_space(x) if i else x
        x = TransposedConv(channels, size).apply({"params": params[f"upsample_{i}"]}, x)
    classifier = params["classifier"]
    return depth_to_space(x @ classifier["kernel"] + classifier["bias"]).argmax(axis=-1)
