"""The dilated front end and its context modules: published numbers, geometry, stages."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import UserError
from reseg_jax.networks.dilated import Dilated, DilatedConfig
from reseg_jax.training.transfer import start_from
from tests.support import reference
from tests.support.networks import SMALL, images_of, random_variables
from tests.support.reference import assert_close

FRONT = SMALL["dilated, front end"]


def shapes(config):
    return jax.eval_shape(lambda key: api.init(config, key), jax.random.key(0))


@pytest.mark.parametrize(
    ("context", "classes", "published"),
    [
        ("none", 21, 134_346_581),
        ("basic", 21, 134_374_973),
        ("large", 21, 141_149_720),
    ],
)
def test_number_of_parameters(context, classes, published):
    """Those with 11 classes are in test_every_network.py."""
    tree = shapes(DilatedConfig(num_classes=classes, context=context))
    assert sum(leaf.size for leaf in jax.tree.leaves(tree)) == published


def test_the_papers_frame():
    """360x480 pixels, mirrored to 732x852, are 45x60 cells: nothing but the margin is taken off."""
    config = DilatedConfig()
    assert config.padded_size((360, 480)) == (732, 852)
    images = jax.ShapeDtypeStruct((1, 360, 480, 3), jnp.uint8)
    maps = jax.eval_shape(lambda v, x: api.features(config, v, x), shapes(config), images)
    assert maps["fc7"].shape == (1, 45, 60, 4096)


@pytest.mark.parametrize("size", [(1, 1), (8, 9), (37, 64)])
def test_cells_cover_the_image(size):
    """A cell per 8 pixels, rounded up, with both paddings."""
    same = dataclasses.replace(FRONT.backbone, padding="SAME", fc_padding="SAME")
    images = jax.ShapeDtypeStruct((1, *size, 3), jnp.uint8)
    for config in (FRONT, dataclasses.replace(FRONT, backbone=same)):
        maps = jax.eval_shape(lambda v, x, c=config: api.features(c, v, x), shapes(config), images)
        assert maps["fc7"].shape[1:3] == tuple(-(-side // 8) for side in size)


def test_the_front_end_sees_its_margin_and_no_more():
    """The first cell, pixels 0 to 7 of the image, depends on 186 pixels to either side of them."""
    config, side = FRONT, 8 + 2 * 186
    variables = jax.tree.map(np.abs, random_variables(config))["params"]["vgg"]
    module = config.backbone.module(("fc7",))
    pixels = jnp.ones((1, side, side, 3))

    def cell(x):
        cells = module.apply({"params": variables}, x)["fc7"]
        assert cells.shape[1:3] == (1, 1)
        return cells.sum()

    gradient = jax.jit(jax.grad(cell))(pixels)
    seen = np.abs(np.asarray(gradient)[0]).sum(axis=-1) > 0
    assert all(edge.any() for edge in (seen[0], seen[-1], seen[:, 0], seen[:, -1]))


def test_logits_see_67_cells(key):
    """Table 1: the eighth layer, 1x1, adds nothing to what the seventh sees."""
    config = DilatedConfig(
        num_classes=2, backbone=dataclasses.replace(FRONT.backbone, fc_channels=1), context="basic"
    )
    x = jnp.ones((1, 71, 71, 1))
    variables = jax.tree.map(jnp.ones_like, Dilated(config).init(key, {"fc7": x}))

    def middle(x):
        return Dilated(config).apply(variables, {"fc7": x})[0, 35, 35].sum()

    seen = np.asarray(jax.grad(middle)(x))[0, ..., 0] > 0
    assert seen[2:69, 2:69].any() and seen.any(axis=0).sum() == seen.any(axis=1).sum() == 67


@pytest.mark.parametrize("context", ["basic", "large"])
def test_a_new_context_module_keeps_the_front_ends_classes(context):
    """Training it begins where the front end's ended; a 32nd of the scores, and noise, in large."""
    config = dataclasses.replace(FRONT, context=context)
    trained = random_variables(FRONT, 1)
    trained["params"]["classifier"]["bias"] += 10  # no score is negative
    new = api.init(config, jax.random.key(0))
    started = start_from(new, trained, (), config.begins_as(FRONT))
    jax.tree.map(np.testing.assert_array_equal, started["params"]["vgg"], trained["params"]["vgg"])
    jax.tree.map(
        np.testing.assert_array_equal, started["params"]["front"], trained["params"]["classifier"]
    )
    image = images_of(1, (40, 48))
    found, expected = api.apply(config, started, image), api.apply(FRONT, trained, image)
    if context == "basic":
        assert expected.min() > 0
        np.testing.assert_array_equal(found, expected)
    assert config.begins_as(config) == {} == FRONT.begins_as(FRONT)


def test_a_context_module_for_other_classes_begins_with_the_backbone():
    config = dataclasses.replace(FRONT, context="basic", num_classes=5)
    trained, new = random_variables(FRONT, 1), random_variables(config, 2)
    started = start_from(new, trained, config.class_layers, config.begins_as(FRONT))
    for layer, found in started["params"].items():
        source = trained if layer == "vgg" else new
        jax.tree.map(np.testing.assert_array_equal, found, source["params"][layer])


def test_scores_by_hand():
    """Without a context module: a matrix product per cell."""
    variables = random_variables(FRONT)
    layer = variables["params"]["classifier"]
    x = np.random.default_rng(0).normal(size=(1, 3, 2, FRONT.backbone.fc_channels))
    x = x.astype(np.float32)
    expected = reference.float64(x) @ layer["kernel"] + layer["bias"]
    params = {"params": {"classifier": layer}}
    assert_close(Dilated(FRONT).apply(params, {"fc7": jnp.asarray(x)}), expected, 1e-5)


@pytest.mark.parametrize(
    "backbone",
    [
        None,
        VGG16(),
        VGG16(output_stride=8, padding="VALID"),
        VGG16(output_stride=8, pool_size=3),
        VGG16(output_stride=8, border=1),
    ],
)
def test_another_backbone_is_refused(backbone):
    with pytest.raises(UserError, match="output_stride=8, pool_size=2, border=0 and fc_padding"):
        DilatedConfig(backbone=backbone)


def test_an_unknown_context_module_is_refused():
    with pytest.raises(UserError, match="context='huge' is unknown; known are: none, basic, large"):
        DilatedConfig(context="huge")
