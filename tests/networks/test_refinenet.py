"""RefineNet: published counts, and that every stage of the backbone learns from the start."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.backbones.resnet import ResNet
from reseg_jax.errors import UserError
from reseg_jax.networks.refinenet import RefineNetBlock, RefineNetConfig
from tests.support.networks import SMALL, images_of


@pytest.mark.parametrize(
    ("depth", "poolings", "classes", "count"),
    [
        (50, 4, 11, 99_030_859),
        (50, 4, 21, 99_053_909),
        (50, 2, 11, 90_773_323),
        (50, 2, 21, 90_796_373),
        (101, 4, 11, 118_022_987),
        (101, 4, 21, 118_046_037),
        (101, 2, 11, 109_765_451),
        (101, 2, 21, 109_788_501),
    ],
)
def test_published_parameter_counts(depth, poolings, classes, count):
    """/param_counts: 118 million are published, of RefineNet-101 with four poolings."""
    backbone = ResNet(depth=depth, trainable=True)
    config = RefineNetConfig(num_classes=classes, backbone=backbone, poolings=poolings)
    params = jax.eval_shape(functools.partial(api.init, config), jax.random.key(0))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


@pytest.mark.slow
def test_every_stage_of_the_backbone_has_a_gradient_at_the_start():
    """Through identities: what is added to them is 0 at first."""
    config = dataclasses.replace(SMALL["refinenet"], dropout=0.0)
    variables, images = api.init(config, jax.random.key(0)), images_of(2, (64, 64))

    def loss(params):
        logits, _ = api.build(config).logits(
            {**variables, "params": params}, images, (64, 64), train=True
        )
        return (logits**2).sum()

    gradients = jax.jit(jax.grad(loss))(variables["params"])["resnet"]
    for stage in config.taps:
        leaves = jax.tree.leaves(
            {name: tree for name, tree in gradients.items() if name.startswith(stage)}
        )
        norm = np.sqrt(sum((np.float64(leaf) ** 2).sum() for leaf in leaves))
        assert np.isfinite(norm), stage
        assert norm > 0, stage


def test_a_block_that_adds_nothing_passes_its_map_on(key):
    """The long-range connection: relu(x), as the pooling rectifies, whatever is above."""
    rng = np.random.default_rng(0)
    x, above = (rng.normal(size=shape).astype(np.float32) for shape in ((1, 9, 5, 3), (1, 5, 3, 4)))
    block = RefineNetBlock(poolings=2, output_units=3)
    variables = block.init(key, x, above)
    fusion = jax.tree.map(np.zeros_like, variables["params"]["fusion"])
    fusion["path_0"]["kernel"][1, 1] = np.eye(3)
    variables["params"]["fusion"] = fusion
    found = block.apply(variables, jnp.asarray(x), jnp.asarray(above))
    np.testing.assert_array_equal(found, np.maximum(x, 0))


@pytest.mark.parametrize(
    ("changes", "reported"),
    [
        ({"backbone": None}, "RefineNet reads the maps of a ResNet"),
        ({"channels": (4, 4)}, "give 4 numbers from 1, for stage 5 first"),
        ({"poolings": -1}, "poolings=-1: give 0 or a positive number"),
        ({"dropout": 1.0}, "give a share from 0 to below 1"),
    ],
)
def test_what_it_cannot_be(changes, reported):
    with pytest.raises(UserError, match=reported):
        RefineNetConfig(**changes)
