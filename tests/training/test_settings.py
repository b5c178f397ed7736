"""Settings as data: what is refused, older files, and the update rule that they describe."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax.errors import UserError
from reseg_jax.files import config_json
from reseg_jax.training import optimizers, settings
from reseg_jax.training.settings import TrainSettings


def test_through_json_they_are_the_same():
    changed = TrainSettings(scale=(0.5, 2.0), color=0.1, data_options=("a=b",), ema_decay=0.5)
    values = json.loads(json.dumps(config_json.to_dict(changed)))
    assert settings.from_dict(values) == changed
    assert settings.from_dict({}) == TrainSettings()


def test_fields_are_read_by_their_older_names():
    old = {"average": 0.9, "colour": 0.2, "versions": 3, "vgg_rate": 0.5, "seed": 7}
    assert settings.from_dict(old) == TrainSettings(
        ema_decay=0.9, color=0.2, num_augmented_copies=3, backbone_rate=0.5, seed=7
    )
    fields = {field.name for field in dataclasses.fields(TrainSettings)}
    assert set(settings.OLD_NAMES.values()) <= fields
    assert not set(settings.OLD_NAMES) & fields
    with pytest.raises(UserError, match="colours"):
        settings.from_dict({"colours": 0.2})


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"optimizer": "newton"}, "optimizer"),
        ({"schedule": "linear"}, "schedule"),
        ({"epochs": 0}, "epochs"),
        ({"accumulate": 0}, "accumulate"),
        ({"accumulate": 2, "batch_size": 5}, "accumulate=2.* divisor of batch_size"),
        ({"accumulate": 5, "jaccard": 0.5}, "accumulate=5.* jaccard=0"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"l2": -1.0}, "l2"),
        ({"classifier_rate": -1.0}, "classifier_rate"),
        ({"bias_rate": -1.0}, "bias_rate"),
        ({"border_weight": -1.0}, "border_weight"),
        ({"auxiliary": -0.4}, "auxiliary"),
        ({"bootstrap": 0.0}, "bootstrap"),
        ({"bootstrap": 1.5}, "bootstrap"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"weight_decay": 0.1}, "weight_decay"),  # the optimizer is not adamw
        ({"crop": 0.0}, "crop"),
        ({"scale": (2.0, 1.0)}, "scale"),
        ({"elastic": -1.0}, "elastic"),
        ({"rotate": -10.0}, "rotate"),
        ({"translate": -1}, "translate"),
        ({"noise": -1.0}, "noise"),
        ({"aspect": 0.5}, "aspect=0.5: give a factor from 1"),
        ({"gamma": 0.6}, "gamma=0.6: .* from 0 to 0.5"),
        ({"num_augmented_copies": 3}, "num_augmented_copies"),  # nothing is augmented
        ({"num_augmented_copies": 1, "color": 0.1}, "num_augmented_copies"),
    ],
)
def test_what_makes_no_sense_is_refused_by_the_field(bad, field):
    with pytest.raises(UserError, match=field):
        TrainSettings(**bad)


@pytest.mark.parametrize(
    ("changes", "copies"),
    [
        ({}, 1),
        ({"flip": True}, 2),
        ({"color": 0.1}, 0),  # others in every epoch
        ({"gamma": 0.1, "flip": True}, 0),
        ({"aspect": 1.2}, 0),
        ({"rotate": 10.0, "num_augmented_copies": 4}, 4),
        ({"scale": (0.5, 1.0), "num_augmented_copies": 3, "flip": True}, 3),
    ],
)
def test_how_many_copies_of_an_image_there_are(changes, copies):
    assert TrainSettings(**changes).copies == copies


PARAMS = {
    "vgg": {"kernel": jnp.array([5.0])},
    "renet_0": {"kernel": jnp.array([5.0])},
    "classifier": {"kernel": jnp.array([5.0])},
}


def step_sizes(chosen, steps=1, backbone="vgg"):
    """What each update subtracts from each group if every gradient is 1: [steps, groups]."""
    optimizer = chosen.make_optimizer(steps_per_epoch=5, groups=PARAMS, backbone=backbone)
    state, found = optimizer.init(PARAMS), []
    for _ in range(steps):
        updates, state = optimizer.update(jax.tree.map(jnp.ones_like, PARAMS), state, PARAMS)
        found.append([-float(updates[name]["kernel"][0]) for name in PARAMS])
    return np.array(found)


def test_backbone_and_classifier_learn_at_their_share_of_the_rate():
    chosen = TrainSettings(optimizer="sgd", learning_rate=2.0, classifier_rate=10.0)
    assert list(PARAMS) == ["vgg", "renet_0", "classifier"]
    np.testing.assert_allclose(step_sizes(chosen), [[0.2, 2.0, 20.0]], rtol=1e-6)
    optimizer = chosen.make_optimizer(1, PARAMS, "vgg", ("renet_0", "classifier"))
    updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, PARAMS), optimizer.init(PARAMS))
    steps = [-float(updates[name]["kernel"][0]) for name in PARAMS]
    np.testing.assert_allclose(steps, [0.2, 20.0, 20.0], rtol=1e-6)
    alike = dataclasses.replace(chosen, classifier_rate=1.0)
    np.testing.assert_allclose(step_sizes(alike, backbone=None), [[2.0, 2.0, 2.0]], rtol=1e-6)


def test_biases_learn_at_their_share_of_their_layer_s_rate():
    """FCN's twice the rate, on top of a classifier's ten times; an average is kept all the same."""
    params = {
        name: {"kernel": jnp.array([5.0]), "bias": jnp.array([5.0])}
        for name in ("vgg", "classifier")
    }
    chosen = TrainSettings(
        optimizer="sgd", learning_rate=1.0, classifier_rate=10.0, bias_rate=2.0, ema_decay=0.5
    )
    optimizer = chosen.make_optimizer(5, params, "vgg")
    ones = jax.tree.map(jnp.ones_like, params)
    updates, _ = optimizer.update(ones, optimizer.init(params), params)
    found = {
        (group, name): float(-updates[group][name][0]) for group in params for name in params[group]
    }
    assert found == pytest.approx(
        {
            ("vgg", "kernel"): 0.1,
            ("vgg", "bias"): 0.2,
            ("classifier", "kernel"): 10.0,
            ("classifier", "bias"): 20.0,
        }
    )


def test_poly_ends_with_the_last_epoch():
    """Update t of 10 has rate 2 (1 - t / 10)^0.9."""
    chosen = TrainSettings(
        optimizer="sgd", learning_rate=2.0, schedule="poly", epochs=2, backbone_rate=1.0
    )
    expected = 2 * (1 - np.arange(11) / 10) ** 0.9
    for found in step_sizes(chosen, steps=11).T:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_an_average_is_kept_if_it_is_wanted(decay):
    state = TrainSettings(ema_decay=decay).make_optimizer(5, PARAMS, "vgg").init(PARAMS)
    assert isinstance(state, optimizers.Averaged) == (decay > 0)
