"""Presets and what changes them."""

import dataclasses
import re

import jax
import numpy as np
import pytest

from data import NAMES, Example
from experiments import trainer
from experiments.presets import PRESETS, build, default, of_network
from reseg_jax import ReSegConfig, UserError, networks
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.training.trained import load_run
from reseg_jax.training.workdir import About, claim
from tests.support.networks import random_variables


def test_every_dataset_has_its_preset():
    for name in NAMES:
        assert PRESETS[default(name)].settings.dataset == name


def test_camvid_is_the_papers_network_and_training():
    config, settings = build(PRESETS["camvid"], {})
    assert config == ReSegConfig()
    assert (settings.optimizer, settings.learning_rate) == ("adadelta", None)
    assert (settings.batch_size, settings.l2, settings.flip) == (5, 1e-3, False)


def test_changes_and_assignments_reach_the_part_that_has_the_field():
    config, settings = build(
        PRESETS["camvid"], {"cell": "lstm", "epochs": 3}, ["units=[8,8]", "l2=0"]
    )
    assert (config.cell, config.units) == ("lstm", (8, 8))
    assert (settings.epochs, settings.l2) == (3, 0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("recompute=true", "execution.remat=true"),
        ("unroll=true", "execution.unroll=all"),
        ("implementation=pallas", "execution.implementation=pallas"),
        ("vgg_layer=conv2_2", "tap=conv2_2"),
        ("vgg_layer=None", "backbone=None"),
        ("finetune_vgg=true", "backbone.trainable=true"),
        ("average=0.5", "ema_decay=0.5"),
        ("colour=0.5", "color=0.5"),
        ("vgg_rate=0.5", "backbone_rate=0.5"),
    ],
)
def test_names_of_older_versions_mean_what_they_did(old, new):
    preset = PRESETS["camvid"]
    assert build(preset, {}, [old]) == build(preset, {}, [new]) != build(preset, {})


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_every_network_has_a_preset_and_trains_on_any_dataset(name):
    config, settings = build(of_network(name, "folder"), {})
    assert networks.name_of(config) == name
    assert settings.dataset == "folder"


def test_another_network_takes_the_presets_place():
    network = ReSegConfig(cell="lstm")
    config, _ = build(PRESETS["camvid"], {}, ["units=[8,8]"], network)
    assert config == dataclasses.replace(network, units=(8, 8))


def test_a_flag_for_a_field_that_the_network_lacks_is_refused():
    with pytest.raises(UserError, match=r"^--cell=lstm: UNetConfig .*leave it out.*channels"):
        build(PRESETS["camvid_unet"], {"cell": "lstm"})
    with pytest.raises(UserError, match=r"backbone\.trainable: .*leave it out"):
        build(PRESETS["camvid_unet"], {"finetune_vgg": True})


def test_an_unknown_field_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match=r"^--set cel=lstm: .*the fields are .*cell.*units"):
        build(PRESETS["camvid"], {}, ["l2=0", "cel=lstm"])
    with pytest.raises(UserError, match=r"^--set cell: write field=value"):
        build(PRESETS["camvid"], {}, ["l2=0", "cell"])


_VGG = VGG16(channels=(2, 3, 4, 5, 6), fc_channels=7)


def narrow(config):
    """The same network with few channels, which compiles and runs in a fraction of the time."""
    changes = {}
    if isinstance(config.backbone, VGG16):
        few = {"channels": _VGG.channels, "fc_channels": _VGG.fc_channels}
        changes["backbone"] = dataclasses.replace(config.backbone, **few)
    elif config.backbone:
        changes["backbone"] = dataclasses.replace(config.backbone, width=2, depth=14)
    if networks.name_of(config) == "reseg":
        changes["units"] = (3,) * len(config.units)
        changes["upsample_channels"] = (4,) * len(config.upsample_channels)
    elif networks.name_of(config) == "deeplab":
        changes["channels"] = config.channels and 4
    elif networks.name_of(config) in ("unet", "fusionnet"):
        changes["channels"] = (2, 3, 4)
    elif networks.name_of(config) == "frrn":
        changes["encoder"] = tuple((1, 4) for _ in config.encoder)
        changes["decoder"] = tuple((1, 4) for _ in config.decoder)
        changes |= {"channels": 4, "residual_channels": 3}
    elif networks.name_of(config) == "refinenet":
        changes["channels"] = (4, 4, 4, 4)
    return dataclasses.replace(config, **changes)


def train(workdir, config, settings, cache):
    """The history of a training on five frames of noise, with two more to validate."""
    rng, size = np.random.default_rng(0), (16, 24)
    train, val = (
        [
            Example(
                str(i),
                rng.integers(0, 256, (*size, 3), np.uint8),
                rng.choice(np.uint8([0, 1, 255]), size),
            )
            for i in range(count)
        ]
        for count in (5, 2)
    )
    variables = random_variables(config)
    about = About(config, settings, None)
    claim(workdir, about)
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an integer
        return trainer.train(workdir, about, variables, train, val, cache)


# Five poolings leave a cell or two of a frame, too few to normalize over: two epochs may not help.
FEW_CELLS = ("camvid_segnet", "camvid_bayesian_segnet")


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains_for_two_epochs(name, tmp_path):
    """On five frames of noise, which it must come to fit better in the second."""
    config, settings = build(PRESETS[name], {"epochs": 2})
    config = narrow(config)
    batch = min(settings.batch_size, 3)
    translate = min(settings.translate, 1)  # pixels: FRRN's 19 of 480 are one of these 24
    settings = dataclasses.replace(
        settings, batch_size=batch, warmup=0, buckets=1, translate=translate
    )
    workdir = tmp_path / "run"
    history = train(workdir, config, settings, tmp_path / "features")
    assert [epoch["epoch"] for epoch in history] == [1, 2]
    assert history[1]["step"] == 2 * (5 // batch if settings.drop_last else -(-5 // batch))
    if name not in FEW_CELLS:
        assert history[1]["train_loss"] < history[0]["train_loss"]
    run = load_run(workdir)
    assert run.config == config


@pytest.mark.slow
def test_augmented_copies_of_an_image_have_their_features_kept(tmp_path):
    """Three of each of five images, and two to validate: 17 files, whatever the epochs."""
    changes = {"scale": (0.5, 2.0), "color": 0.3, "flip": True}
    changes |= {"num_augmented_copies": 3, "epochs": 4}
    config, settings = build(PRESETS["camvid"], changes)
    train(tmp_path / "run", narrow(config), settings, tmp_path / "features")
    assert len(list((tmp_path / "features").rglob("*.npy"))) == 17
    other = dataclasses.replace(settings, num_augmented_copies=0)
    assert not trainer.keeps_features(config, other)


@pytest.mark.parametrize(
    ("changes", "reported"),
    [
        ({"num_augmented_copies": 1, "color": 0.1}, "from 2, and with it one of color, gamma"),
        ({"num_augmented_copies": 3, "flip": True}, "from 2, and with it one of color, gamma"),
        ({"crop": 0.0}, "share above 0"),
        ({"crop": 1.5}, "up to 1"),
        ({"scale": (2.0, 0.5)}, "the smaller first"),
        ({"color": 1.0}, "below 1"),
    ],
)
def test_augmentation_that_makes_no_sense_is_refused(changes, reported):
    field, value = next(iter(changes.items()))
    with pytest.raises(UserError, match=rf"^{field}={re.escape(str(value))}.*{reported}"):
        build(PRESETS["camvid"], changes)
