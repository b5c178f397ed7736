"""Presets and what changes them."""

import pytest

from data import NAMES
from experiments.presets import PRESETS, build, default
from reseg_jax import ReSegConfig, UserError


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
