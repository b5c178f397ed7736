"""PSPNet: published numbers of parameters, sizes, its layers by NumPy, and the auxiliary logits."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.backbones.resnet import ResNet
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import UserError
from reseg_jax.networks.pspnet import PSPNet, PSPNetConfig
from reseg_jax.training.losses import Loss
from tests.support import reference_layers
from tests.support.networks import SMALL, images_of, random_variables
from tests.support.reference import assert_close


def on(depth, stem="deep", **more):
    backbone = dataclasses.replace(PSPNetConfig().backbone, depth=depth, stem=stem)
    return PSPNetConfig(backbone=backbone, **more)


def counts(config):
    """(all parameters, those without the auxiliary layers)."""
    tree = jax.eval_shape(lambda key: api.init(config, key), jax.random.key(0))["params"]
    sizes = {name: sum(x.size for x in jax.tree.leaves(part)) for name, part in tree.items()}
    total = sum(sizes.values())
    return total, total - sizes["auxiliary"] - sizes["auxiliary_classifier"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (on(50), (49_073_878, 46_711_243)),
        (on(101), (68_066_006, 65_703_371)),
        (on(50, num_classes=21), (49_081_578, 46_716_373)),
        pytest.param(on(101, num_classes=21), (68_073_706, 65_708_501), marks=pytest.mark.slow),
    ],
)
def test_number_of_parameters(config, expected):
    assert counts(config) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (on(50, "7x7"), 46_587_467),
        pytest.param(on(101, "7x7"), 65_579_595, marks=pytest.mark.slow),
        pytest.param(on(50, "7x7", num_classes=21), 46_592_597, marks=pytest.mark.slow),
        pytest.param(on(101, "7x7", num_classes=21), 65_584_725, marks=pytest.mark.slow),
    ],
)
def test_number_of_parameters_with_the_other_stem(config, expected):
    assert counts(config)[1] == expected


def test_sizes_of_camvid():
    """Padded to 8 k + 1, with a cell on each corner."""
    config = PSPNetConfig()
    images = jax.ShapeDtypeStruct((1, 360, 480, 3), jnp.uint8)
    tree = jax.eval_shape(lambda key: api.init(config, key), jax.random.key(0))
    assert config.padded_size((360, 480)) == (361, 481)
    assert config.padded_size((473, 713)) == (473, 713)  # the paper's crops
    maps = jax.eval_shape(lambda v, x: api.features(config, v, x), tree, images)
    assert {name: value.shape[1:] for name, value in maps.items()} == {
        "stage5": (46, 61, 2048),
        "stage4": (46, 61, 1024),
    }
    logits = jax.eval_shape(lambda v, x: api.apply(config, v, x), tree, images)
    assert logits.shape == (1, 360, 480, 11)


def normalized(x, variables, *path):
    """Convolution, normalization by running statistics, and ReLU."""
    params, stats = variables["params"], variables["batch_stats"]
    for name in path:
        params, stats = params[name], stats[name]
    x = reference_layers.convolution(x, params["conv"]["kernel"])
    statistics = (np.float64(stats["norm"][name]) for name in ("mean", "var"))
    norm = params["norm"]
    return np.maximum(
        reference_layers.batch_norm(x, norm["scale"], norm["bias"], *statistics)[0], 0
    )


def enlarged(bins, size):
    """[B, b, b, C] -> [B, *size, C]: linear between the middles of the bins, constant outside."""
    for axis, cells in zip((1, 2), size, strict=True):
        count = bins.shape[axis]
        place = np.clip((np.arange(cells) + 0.5) * count / cells - 0.5, 0, count - 1)
        low = np.floor(place).astype(int)
        high, share = np.minimum(low + 1, count - 1), place - low
        share = share.reshape([-1 if other == axis else 1 for other in range(bins.ndim)])
        bins = (1 - share) * bins.take(low, axis) + share * bins.take(high, axis)
    return bins


def test_a_small_one_equals_numpy():
    config = SMALL["pspnet, frozen"]
    variables = random_variables(config)
    x = np.random.default_rng(0).normal(size=(2, 6, 9, 64)).astype(np.float32)
    maps = {"stage5": jnp.asarray(x), "stage4": jnp.zeros((2, 6, 9, 32))}
    levels = [x]
    for bins in config.bins:  # of sizes that they divide
        blocks = x.astype(np.float64).reshape(2, bins, 6 // bins, bins, 9 // bins, 64)
        level = normalized(blocks.mean(axis=(2, 4)), variables, "pyramid", f"bins_{bins}")
        levels.append(enlarged(level, (6, 9)))
    y = normalized(np.concatenate(levels, axis=-1), variables, "last")
    classifier = variables["params"]["classifier"]
    expected = y @ np.float64(classifier["kernel"]) + classifier["bias"]
    collections = {name: variables[name] for name in ("params", "batch_stats")}
    assert_close(PSPNet(config).apply(collections, maps), expected, 1e-5)


@pytest.mark.slow
def test_auxiliary_logits_are_stage_4s_and_weigh_0_4():
    """In training only, of the size of the image, and with parameters from the start."""
    config, image = SMALL["pspnet"], images_of(2, (20, 27))
    variables = random_variables(config)
    logits, updates = api.build(config).logits(variables, image, (20, 27), train=True)
    (auxiliary,) = updates["aux"].values()
    assert auxiliary.shape == logits.shape == (2, 20, 27, 3)
    labels, weight = np.zeros((2, 20, 27), np.uint8), np.ones(2, np.float32)
    loss = Loss(l2=0.0)
    parts = [float(loss(x, labels, weight, None)) for x in (logits, auxiliary)]
    found = float(loss(logits, labels, weight, None, updates["aux"]))
    np.testing.assert_allclose(found, parts[0] + 0.4 * parts[1], rtol=1e-5)
    changed = {**variables, "params": {**variables["params"]}}
    changed["params"]["auxiliary_classifier"] = jax.tree.map(
        jnp.zeros_like, variables["params"]["auxiliary_classifier"]
    )
    other, updates = api.build(config).logits(changed, image, (20, 27), train=True)
    np.testing.assert_array_equal(other, logits)
    assert not np.any(updates["aux"]["stage4"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"backbone": None}, "maps of a ResNet"),
        ({"backbone": VGG16()}, "maps of a ResNet"),
        ({"backbone": ResNet()}, "give 8 or 16"),
        ({"bins": ()}, "give numbers from 1, each once"),
        ({"bins": (2, 2)}, "give numbers from 1, each once"),
        ({"channels": 0}, "give at least 1"),
        ({"dropout": 1.0}, "a share from 0 to below 1"),
    ],
)
def test_what_it_cannot_be(change, words):
    with pytest.raises(UserError, match=words):
        PSPNetConfig(**change)
