"""Beginning with a trained network: what is carried over, what is new, what does not fit."""

import dataclasses

import jax
import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import UserError
from reseg_jax.layers.upsample import bilinear_upsample
from reseg_jax.networks.fcn import FCN
from reseg_jax.training.transfer import start_from
from tests.support import tiny
from tests.support.networks import SMALL, random_variables

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


# --- stages ---------------------------------------------------------------------------------------

FCN_8S = SMALL["fcn, 8s"]


def at(stride, **changes):
    return dataclasses.replace(FCN_8S, upsample_stride=stride, **changes)


def stage(stride, trained, before, **changes):
    """(config, fresh, started) of an FCN that begins where another stage ended."""
    config = at(stride, **changes)
    fresh = network(config, 2)
    return config, fresh, start_from(fresh, trained, (), config.begins_as(before))


@pytest.mark.parametrize(
    ("before", "after", "layers"),
    [
        (32, 16, {"score_fc7": "classifier"}),
        (16, 8, {"score_fc7": "score_fc7", "score_pool4": "classifier"}),
        (32, 8, {"score_fc7": "classifier"}),
        (8, 16, {"score_fc7": "score_fc7", "classifier": "score_pool4"}),
        (16, 16, {"score_fc7": "score_fc7", "classifier": "classifier"}),
    ],
)
def test_a_stage_of_fcn_carries_the_scores_of_every_map(before, after, layers):
    """Whatever they are called; upsamplings to maps that both have, and the whole backbone."""
    trained = random_variables(at(before), 1)
    config, fresh, started = stage(after, trained, at(before))
    assert set(started["params"]) == {"vgg", *config.class_layers}
    kept = {"vgg": "vgg"} | layers
    kept |= {
        f"upsample_to_{tap}": f"upsample_to_{tap}" for tap in {*at(before).skips} & {*config.skips}
    }
    for name, tree in started["params"].items():
        source = trained["params"][kept[name]] if name in kept else fresh["params"][name]
        for found, expected in zip(*map(jax.tree.leaves, (tree, source)), strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("before", "after"), [(32, 16), (16, 8)])
def test_a_stage_of_fcn_begins_with_what_the_one_before_gives(before, after):
    """Enlarged twice: the scores that are added are 0."""
    trained = random_variables(at(before), 1)
    config, _, started = stage(after, trained, at(before))
    rng = np.random.default_rng(0)
    maps = {
        tap: rng.normal(size=(1, *(128 // config.tap_stride(tap),) * 2, channels)).astype(
            np.float32
        )
        for tap, channels in (("fc7", 7), ("pool4", 5), ("pool3", 4))
    }

    def scores(config, variables):
        heads = {name: variables["params"][name] for name in config.class_layers}
        return FCN(config).apply({"params": heads}, {tap: maps[tap] for tap in config.taps})

    expected = bilinear_upsample(scores(at(before), trained), 2)
    np.testing.assert_allclose(scores(config, started), expected, atol=1e-5)


def test_for_other_classes_a_stage_carries_the_backbone_only():
    trained = random_variables(at(32), 1)
    config = at(16, num_classes=5)
    fresh = network(config, 2)
    started = start_from(fresh, trained, config.class_layers, config.begins_as(at(32)))
    for name, tree in started["params"].items():
        source = trained if name == "vgg" else fresh
        for found, expected in zip(
            *map(jax.tree.leaves, (tree, source["params"][name])), strict=True
        ):
            np.testing.assert_array_equal(found, expected)


def test_the_second_stage_of_deconvnet_has_all_of_the_first():
    """Statistics of batch normalization too, of the backbone and of the way up."""
    trained = random_variables(SMALL["deconvnet"], 1)
    started = start_from(random_variables(SMALL["deconvnet"], 2), trained)
    assert set(started) == {"params", "batch_stats"}
    jax.tree.map(np.testing.assert_array_equal, started, trained)
