"""Beginning with a trained network: what is carried over, what is new, what does not fit."""

import dataclasses

import jax
import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.config import Classes
from reseg_jax.errors import UserError
from reseg_jax.training.transfer import start_from
from tests.support import tiny

IMAGES = tiny.images_and_labels(2)[0]
OTHERS = Classes(("cat", "dog"), ((0, 0, 0), (9, 9, 9)))
THREE = Classes(("a", "b", "c"), ((0, 0, 0), (9, 9, 9), (5, 5, 5)))


def network(config, seed):
    return api.init(config, jax.random.key(seed))


def leaves(variables):
    """{"renet_0/...": array}, wherever the VGG is."""
    merged = {**variables.get("frozen", {}), **variables["params"]}
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(merged)
    }


@pytest.mark.parametrize("config", [tiny.CONFIG, tiny.VGG_CONFIG], ids=["pixels", "vgg"])
def test_of_the_same_classes_it_is_the_trained_network(config):
    trained = network(config, 1)
    started = start_from(config, network(config, 2), config, trained)
    for found, expected in zip(*map(jax.tree.leaves, (started, trained)), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        api.apply(config, started, IMAGES), api.apply(config, trained, IMAGES)
    )


@pytest.mark.parametrize("classes", [OTHERS, THREE], ids=["other names", "another number"])
def test_for_other_classes_the_classifier_alone_is_new(classes):
    config = dataclasses.replace(
        tiny.VGG_CONFIG, classes=classes, num_classes=len(classes.names), dropout=0.5
    )
    trained, fresh = network(tiny.VGG_CONFIG, 1), network(config, 2)
    found = leaves(start_from(config, fresh, tiny.VGG_CONFIG, trained))
    assert set(found) == set(leaves(fresh))
    for name, leaf in found.items():
        source = fresh if name.startswith("classifier/") else trained
        np.testing.assert_array_equal(leaf, leaves(source)[name])


def test_a_frozen_vgg_may_be_trained_from_here():
    config = dataclasses.replace(tiny.VGG_CONFIG, finetune_vgg=True)
    trained = network(tiny.VGG_CONFIG, 1)
    started = start_from(config, network(config, 2), tiny.VGG_CONFIG, trained)
    np.testing.assert_array_equal(
        started["params"]["vgg"]["conv1_1"]["kernel"], trained["frozen"]["vgg"]["conv1_1"]["kernel"]
    )
    assert "frozen" not in started


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": (5,)}, r"its renet_0/\S+/bias is \(9,\), and \(15,\) is wanted"),
        ({"skips": ("conv1_1",)}, "its skip_conv1_1/bias is missing"),
    ],
)
def test_other_layers_are_refused_by_name(changes, message):
    config = dataclasses.replace(tiny.VGG_CONFIG, **changes)
    with pytest.raises(UserError, match=message):
        start_from(config, network(config, 2), tiny.VGG_CONFIG, network(tiny.VGG_CONFIG, 1))
