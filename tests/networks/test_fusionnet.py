"""FusionNet: its residual block in plain loops, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import UserError
from reseg_jax.networks.fusionnet import FusionNetConfig, ResidualBlock
from tests.support import reference_layers
from tests.support.reference import assert_close


def layer(x, variables, name):
    """Convolution and normalization by running statistics."""
    params, stats = variables["params"][name], variables["batch_stats"][name]["norm"]
    x = reference_layers.convolution(x, params["conv"]["kernel"]) + params["conv"]["bias"]
    norm = params["norm"]
    return reference_layers.batch_norm(
        x, norm["scale"], norm["bias"], np.float64(stats["mean"]), np.float64(stats["var"])
    )[0]


def test_a_block_adds_its_input_around_three_convolutions(key):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 4, 2)).astype(np.float32)
    block = ResidualBlock(3, "float32")
    variables = jax.tree.map(
        lambda leaf: rng.uniform(0.2, 1, leaf.shape).astype(np.float32) - 0.5 * (leaf.ndim > 1),
        block.init(key, x, train=False),
    )
    first = np.maximum(layer(x, variables, "first"), 0)
    y = np.maximum(layer(first, variables, "inner_0"), 0)
    y = np.maximum(layer(y, variables, "inner_1"), 0)
    y = np.maximum(first + layer(y, variables, "inner_2"), 0)
    expected = np.maximum(layer(y, variables, "last"), 0)
    assert_close(block.apply(variables, jnp.asarray(x), train=False), expected, 1e-5)


def test_what_it_cannot_be():
    with pytest.raises(UserError, match="FusionNet reads the pixels"):
        FusionNetConfig(backbone=VGG16())
    with pytest.raises(UserError, match="give at least 2 numbers"):
        FusionNetConfig(channels=(4,))
