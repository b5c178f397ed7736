"""Presets and what changes them."""

import dataclasses
import functools
import re

import jax
import numpy as np
import pytest

from data import NAMES, Example
from experiments import trainer
from experiments.presets import PRESETS, build, default
from reseg_jax import ReSegConfig, UserError, api
from reseg_jax.training.workdir import claim, load_run


def test_every_dataset_has_its_preset():
    for name in NAMES:
        assert PRESETS[default(name)].settings.dataset == name


def test_camvid_is_the_papers_network_and_training():
    config, settings = build("camvid", {})
    assert config == ReSegConfig()
    assert (settings.optimizer, settings.learning_rate) == ("adadelta", None)
    assert (settings.batch_size, settings.l2, settings.flip) == (5, 1e-3, False)


def test_changes_and_assignments_reach_the_part_that_has_the_field():
    config, settings = build("camvid", {"cell": "lstm", "epochs": 3}, ["units=[8,8]", "l2=0"])
    assert (config.cell, config.units) == ("lstm", (8, 8))
    assert (settings.epochs, settings.l2) == (3, 0)


@pytest.mark.parametrize("text", ["cel=lstm", "cell"])
def test_an_unknown_field_is_refused_with_the_known_ones(text):
    with pytest.raises(UserError, match=f"--set {text}: .*the fields are .*cell.*units"):
        build("camvid", {}, ["l2=0", text])


def narrow(config):
    """The same network with few units, which compiles and runs in a fraction of the time."""
    return dataclasses.replace(
        config,
        units=(3,) * len(config.units),
        upsample_channels=(4,) * len(config.upsample_channels),
    )


@functools.cache
def vgg():
    """Random VGG variables, drawn without compiling anything."""
    shapes = jax.eval_shape(functools.partial(api.init, ReSegConfig()), jax.random.key(0))
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape, scale=0.05).astype(np.float32), shapes["frozen"]
    )


def learn(workdir, config, settings, cache):
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
    variables = api.init(config, jax.random.key(0))
    if "frozen" in variables:
        variables["frozen"] = vgg()
    claim(workdir, config, settings)
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an integer
        return trainer.learn(workdir, config, settings, variables, train, val, cache)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains_for_two_epochs(name, tmp_path):
    """On five frames of noise, which it must come to fit better in the second."""
    config, settings = build(name, {"epochs": 2})
    config = narrow(config)
    batch = min(settings.batch_size, 3)
    settings = dataclasses.replace(settings, batch_size=batch, warmup=0, buckets=1)
    workdir = tmp_path / "run"
    history = learn(workdir, config, settings, tmp_path / "features")
    assert [epoch["epoch"] for epoch in history] == [1, 2]
    assert history[1]["step"] == 2 * (5 // batch if settings.drop_last else -(-5 // batch))
    assert history[1]["train_loss"] < history[0]["train_loss"]
    run = load_run(workdir)
    assert run.config == config


def test_versions_of_an_image_have_their_features_kept(tmp_path):
    """Three of each of five images, and two to validate: 17 files, whatever the epochs."""
    changes = {"scale": (0.5, 2.0), "colour": 0.3, "flip": True, "versions": 3, "epochs": 4}
    config, settings = build("camvid", changes)
    learn(tmp_path / "run", narrow(config), settings, tmp_path / "features")
    assert len(list((tmp_path / "features").rglob("*.npy"))) == 17
    assert not trainer.keeps_features(config, dataclasses.replace(settings, versions=0))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"versions": 1, "colour": 0.1}, "from 2, and with it scale or colour"),
        ({"versions": 3, "flip": True}, "from 2, and with it scale or colour"),
        ({"crop": 0.0}, "share above 0"),
        ({"crop": 1.5}, "up to 1"),
        ({"scale": (2.0, 0.5)}, "the smaller first"),
        ({"colour": 1.0}, "below 1"),
    ],
)
def test_augmentation_that_makes_no_sense_is_refused(changes, told):
    field, value = next(iter(changes.items()))
    with pytest.raises(UserError, match=rf"^{field}={re.escape(str(value))}.*{told}"):
        build("camvid", changes)
