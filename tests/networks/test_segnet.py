"""SegNet: published numbers of parameters, sizes, and its decoder in plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.networks.segnet import SegNet, SegNetConfig
from tests.support import reference_layers
from tests.support.networks import random_variables
from tests.support.reference import assert_close


def count(config):
    tree = jax.eval_shape(lambda key: api.init(config, key), jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves((tree["params"], tree.get("frozen", {}))))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (SegNetConfig(), 29_449_355),
        (SegNetConfig(num_classes=21), 29_455_125),
        (SegNetConfig().bayesian(), 29_449_355),
        (SegNetConfig.basic(), 1_416_587),
        (SegNetConfig.basic(num_classes=21).bayesian(), 1_417_237),
    ],
)
def test_number_of_parameters(config, expected):
    assert count(config) == expected


def test_sizes_of_camvid():
    """360 rows are pooled to 180, 90, 45, 23 and 12, and come back."""
    config = SegNetConfig()
    images = jax.ShapeDtypeStruct((1, 360, 480, 3), jnp.uint8)
    tree = jax.eval_shape(lambda key: api.init(config, key), jax.random.key(0))
    maps = jax.eval_shape(lambda v, x: api.features(config, v, x), tree, images)
    assert [maps[name].shape[1:3] for name in config.taps] == [
        *((12, 15), (12, 15), (23, 30), (45, 60), (90, 120), (180, 240)),
    ]
    logits = jax.eval_shape(lambda v, x: api.apply(config, v, x), tree, images)
    assert logits.shape == (1, 360, 480, 11)


def unpooled(x, switches, size):
    batch, height, width, channels = x.shape
    out = np.zeros((batch, 2 * height, 2 * width, channels))
    for place in np.ndindex(x.shape):
        image, i, j, channel = place
        row, column = divmod(int(switches[place]), 2)
        out[image, 2 * i + row, 2 * j + column, channel] = x[place]
    return out[:, : size[0], : size[1]]


def pooled(x):
    """(maxima, switches) of [B, H, W, C], by loops."""
    batch, height, width, channels = x.shape
    full = np.full((batch, height + height % 2, width + width % 2, channels), -np.inf)
    full[:, :height, :width] = x
    windows = [full[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    return np.max(windows, axis=0), np.argmax(windows, axis=0)


def layer(x, params, stats, relu=True):
    """7x7 convolution, normalized by running statistics."""
    x = reference_layers.convolution(x, params["conv"]["kernel"]) + params["conv"]["bias"]
    norm, stats = params["norm"], stats["norm"]
    x, _, _ = reference_layers.batch_norm(
        x, norm["scale"], norm["bias"], np.float64(stats["mean"]), np.float64(stats["var"])
    )
    return np.maximum(x, 0) if relu else x


def test_segnet_basic_equals_the_loops():
    config = SegNetConfig.basic(num_classes=2, basic_channels=3)
    variables = random_variables(config)
    params, stats = variables["params"], variables["batch_stats"]
    pixels = np.random.default_rng(2).uniform(size=(1, 9, 6, 3)).astype(np.float32)
    x = 255 * np.float64(pixels)
    x = x / (1 + 1e-4 / 5 * (x**2).sum(axis=-1, keepdims=True)) ** 0.75  # all are neighbors
    found = []
    for level in range(1, 5):
        x = layer(x, params[f"down_{level}"], stats[f"down_{level}"])
        size = x.shape[1:3]
        x, switches = pooled(x)
        found.append((level, switches, size))
    for level, switches, size in reversed(found):
        x = unpooled(x, switches, size)
        x = layer(x, params[f"up_{level}"], stats[f"up_{level}"], relu=False)
    expected = x @ params["classifier"]["kernel"] + params["classifier"]["bias"]
    logits = SegNet(config).apply(variables, {"pixels": jnp.asarray(pixels)})
    assert_close(logits, expected, 1e-4)


def test_dropout_is_where_the_paper_has_it():
    """After encoders and decoders 3 to 5; the Basic form's 3 and 4: the others change nothing."""
    config = SegNetConfig().bayesian()
    assert config.backbone.dropout_blocks == (3, 4, 5)
    assert config.dropout == config.backbone.dropout == 0.5
    assert config.uses_dropout and not SegNetConfig().uses_dropout
    assert SegNetConfig(backbone=config.backbone).uses_dropout
    small = SegNetConfig.basic(num_classes=2, basic_channels=4).bayesian()
    variables = random_variables(small)
    images = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)
    one, other = (api.apply(small, variables, images, jax.random.key(i)) for i in (0, 1))
    assert np.abs(one - other).max() > 1e-3
    np.testing.assert_array_equal(
        api.apply(small, variables, images), api.apply(small, variables, images)
    )
