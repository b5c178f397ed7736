"""Beginning with a trained network: what is carried over, what is new, what does not fit."""

import dataclasses

import jax
import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import UserError
from reseg_jax.training.transfer import start_from
from tests.support import tiny

IMAGES = tiny.images_and_labels(2)[0]


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
    started = start_from(network(config, 2), trained)
    for found, expected in zip(*map(jax.tree.leaves, (started, trained)), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(
        api.apply(config, started, IMAGES), api.apply(config, trained, IMAGES)
    )


@pytest.mark.parametrize("num_classes", [2, 3], ids=["other names", "another number"])
def test_for_other_classes_only_the_classifier_is_new(num_classes):
    config = dataclasses.replace(tiny.VGG_CONFIG, num_classes=num_classes, dropout=0.5)
    trained, fresh = network(tiny.VGG_CONFIG, 1), network(config, 2)
    found = leaves(start_from(fresh, trained, config.class_layers))
    assert set(found) == set(leaves(fresh))
    for name, leaf in found.items():
        source = fresh if name.startswith("classifier/") else trained
        np.testing.assert_array_equal(leaf, leaves(source)[name])


def test_a_frozen_vgg_may_be_trained_from_here():
    config = dataclasses.replace(tiny.VGG_CONFIG, backbone=VGG16(trainable=True))
    trained = network(tiny.VGG_CONFIG, 1)
    started = start_from(network(config, 2), trained)
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
        start_from(network(config, 2), network(tiny.VGG_CONFIG, 1))
