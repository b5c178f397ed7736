"""DeepLab: published numbers of parameters, the sum over branches, and where cells lie."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.backbones.resnet import ResNet
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import UserError
from reseg_jax.networks.deeplab import ASPP_L, ASPP_S, DeepLab, DeepLabConfig
from tests.support import reference_layers
from tests.support.networks import SMALL, random_variables
from tests.support.reference import assert_close, float64


def shapes(config):
    return jax.eval_shape(lambda key: api.init(config, key), jax.random.key(0))


def count(config):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes(config)["params"]))


# Table 2 of the first paper: millions of parameters with 21 classes, and to the unit.
@pytest.mark.parametrize(
    ("kernel", "rate", "channels", "millions", "exactly"),
    [
        (7, 4, 4096, 134.35, 134_346_581),
        (4, 4, 4096, 65.14, 65_140_565),
        (4, 8, 4096, 65.14, 65_140_565),
        (3, 12, 1024, 20.51, 20_505_429),
    ],
)
def test_fc6_of_the_first_paper(kernel, rate, channels, millions, exactly):
    config = DeepLabConfig(num_classes=21, kernel_size=kernel, rates=(rate,), channels=channels)
    assert count(config) == exactly
    assert round(exactly / 1e6, 2) == pytest.approx(millions, abs=0.001)


@pytest.mark.parametrize(
    ("config", "published"),
    [
        (DeepLabConfig(rates=ASPP_S, num_classes=21), 37_877_652),
        (DeepLabConfig(rates=ASPP_L, num_classes=21), 37_877_652),
        (DeepLabConfig.resnet(num_classes=21), 44_048_532),
    ],
)
def test_number_of_parameters(config, published):
    """Those with 11 classes are in test_every_network.py."""
    assert count(config) == published


@pytest.mark.parametrize(
    ("config", "channels"), [(DeepLabConfig(), 512), (DeepLabConfig.resnet(), 2048)]
)
def test_camvids_frames(config, channels):
    """361x481 pixels, 46x61 cells."""
    assert config.padded_size((360, 480)) == (361, 481)
    images = jax.ShapeDtypeStruct((1, 360, 480, 3), jnp.uint8)
    maps = jax.eval_shape(lambda v, x: api.features(config, v, x), shapes(config), images)
    assert maps[config.tap].shape == (1, 46, 61, channels)


def by_loops(config, params, x):
    """The sum of the branches' scores of a map, each by itself."""
    total = 0.0
    for rate, name in zip(config.rates, config.class_layers, strict=True):
        fields, y = params.get(f"branch_{rate}", {}), x
        for layer in fields.values():
            y = reference_layers.convolution(y, layer["kernel"], dilation=rate)
            y = np.maximum(y + layer["bias"], 0)
        y = reference_layers.convolution(y, params[name]["kernel"], dilation=rate)
        total = total + y + float64(params[name]["bias"])
    return total


@pytest.mark.parametrize("channels", [3, None], ids=["fc6 and fc7", "scores only"])
def test_scores_of_branches_are_added_up(key, channels):
    config = DeepLabConfig(num_classes=2, rates=(1, 3, 2), channels=channels)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 7, 6, 4)).astype(np.float32)
    params = jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32),
        DeepLab(config).init(key, {"pool5": x}),
    )["params"]
    assert {name for name in params if "bias" in params[name]} == set(config.class_layers)
    found = DeepLab(config).apply({"params": params}, {"pool5": x})
    assert_close(found, by_loops(config, params, x), 1e-5)


def test_scores_begin_small(key):
    """N(0, 0.01) without a bias."""
    x = {"pool5": jnp.ones((1, 2, 2, 5))}
    layer = DeepLab(DeepLabConfig()).init(key, x)["params"]["classifier"]
    assert np.std(layer["kernel"]) == pytest.approx(0.01, rel=0.05)
    assert not layer["bias"].any()


def test_a_cell_lies_on_every_eighth_pixel():
    """It sees as many pixels on either side of pixel 8 i."""
    config = SMALL["deeplab, pyramid"]
    variables = jax.tree.map(np.abs, random_variables(config))
    module = config.backbone.module(("pool3",))

    def cell(x):
        found = module.apply({"params": variables["params"]["vgg"]}, x)["pool3"]
        return found[0, 4, 4].sum()

    gradient = np.asarray(jax.grad(cell)(jnp.full((1, 65, 65, 3), 0.5)))
    seen = np.abs(gradient)[0].sum(axis=-1) > 0
    for axis in (0, 1):
        extent = np.flatnonzero(seen.any(axis=axis))
        assert (extent[0] + extent[-1]) / 2 == 8 * 4


def test_resnet_takes_the_place_of_vgg():
    backbone = ResNet(trainable=True, depth=14, width=2, output_stride=8)
    config = DeepLabConfig.resnet(num_classes=3, backbone=backbone)
    assert not config.uses_dropout and DeepLabConfig().uses_dropout
    logits = jax.eval_shape(
        lambda v, x: api.apply(config, v, x), shapes(config), np.zeros((1, 33, 20, 3), np.uint8)
    )
    assert logits.shape == (1, 33, 20, 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"backbone": None}, "give a VGG16 with pool_size=3 or a ResNet"),
        ({"backbone": VGG16(output_stride=8)}, "give a VGG16 with pool_size=3 or a ResNet"),
        ({"rates": ()}, "at least one"),
        ({"rates": (6, 6)}, "different rates"),
        ({"channels": 0}, "all numbers at least 1"),
        ({"dropout": 1.0}, "a share from 0 to below 1"),
        ({"tap": "stage5"}, "'stage5' is unknown"),
    ],
)
def test_what_it_cannot_be(changes, words):
    with pytest.raises(UserError, match=words):
        DeepLabConfig(**changes)
