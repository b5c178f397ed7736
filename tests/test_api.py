"""The way in from a notebook, as the README shows it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import reseg_jax
from reseg_jax import api
from tests.support.networks import SMALL, images_of, random_variables

CONFIG = SMALL["reseg, no VGG"]
SIZE = (8, 10)


@pytest.fixture(scope="module")
def variables():
    return reseg_jax.init(CONFIG, jax.random.key(0))


def test_without_arguments_the_papers_camvid_network():
    config = reseg_jax.ReSegConfig()
    assert (config.num_classes, config.tap, config.cell) == (11, "conv3_3", "gru")
    assert config.units == (100, 100)


def test_apply_jits_with_a_static_config_and_differentiates(variables):
    images = images_of(2, SIZE)
    by_itself = reseg_jax.apply(CONFIG, variables, images)
    jitted = jax.jit(reseg_jax.apply, static_argnums=0)(CONFIG, variables, images)
    np.testing.assert_allclose(by_itself, jitted, rtol=1e-5, atol=1e-6)

    def loss(params, pixels):
        return reseg_jax.apply(CONFIG, {"params": params}, pixels).sum()

    pixels = images.astype(np.float32)
    for gradient in jax.tree.leaves(jax.grad(loss, argnums=(0, 1))(variables["params"], pixels)):
        assert jnp.isfinite(gradient).all()
        assert (gradient != 0).any()


def test_predict_is_the_argmax_of_apply(variables):
    images = images_of(2, SIZE)
    labels = reseg_jax.predict(CONFIG, variables, images)
    logits = reseg_jax.apply(CONFIG, variables, images)
    np.testing.assert_array_equal(labels, np.argmax(logits, axis=-1))
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(reseg_jax.predict(CONFIG, variables, images[0]), labels[0])


def test_init_can_be_looked_at_without_computing(variables):
    """The shapes that `init` gives, and zeros in the place of random numbers never drawn."""
    shapes = jax.eval_shape(functools.partial(reseg_jax.init, CONFIG), jax.random.key(0))
    found, expected = (
        jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (shapes, variables)
    )
    assert found == expected


# --- what training is given -----------------------------------------------------------------------


@pytest.mark.slow
def test_build_gives_the_same_functions():
    config, images = SMALL["reseg"], images_of(2, SIZE)
    network = api.build(config)
    variables = network.init(jax.random.key(3))
    jax.tree.map(np.testing.assert_array_equal, variables, api.init(config, jax.random.key(3)))
    expected = api.apply(config, variables, images)
    maps = network.features(variables, images)
    for inputs in (images, maps):
        np.testing.assert_array_equal(network.logits(variables, inputs, SIZE), expected)
        logits, updates = network.logits(variables, inputs, SIZE, train=True)
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
        assert updates == {"aux": {}}  # this network has neither


def test_a_trained_backbone_and_the_network_draw_their_own_dropout():
    """Dropping in the backbone does not depend on whether the network above drops."""
    config = SMALL["fcn, 8s"]
    frozen = dataclasses.replace(
        config, backbone=dataclasses.replace(config.backbone, trainable=False)
    )
    variables, images = random_variables(config), images_of(1, (32, 32))
    key = jax.random.key(0)
    assert np.abs(api.apply(config, variables, images, key)
                  - api.apply(config, variables, images)).max() > 0  # fmt: skip
    params = dict(variables["params"])
    still = {"params": params, "frozen": {"vgg": params.pop("vgg")}}
    np.testing.assert_array_equal(
        api.apply(frozen, still, images, key), api.apply(frozen, still, images)
    )


def test_valid_size_is_left_out_for_a_network_that_cannot_use_it():
    """`build` takes it for every network, `apply` says that it would have no effect."""
    config = SMALL["unet, same, batch norm"]
    variables, images = random_variables(config), images_of(1, (16, 16))
    valid = np.int32([12, 12])
    found = api.build(config).logits(variables, images, (16, 16), valid_size=valid)
    np.testing.assert_array_equal(found, api.apply(config, variables, images))
    with pytest.raises(reseg_jax.UserError, match="leave out valid_size"):
        api.apply(config, variables, images, valid_size=valid)
