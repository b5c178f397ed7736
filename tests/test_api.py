"""The way in from a notebook, as the README shows it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import reseg_jax
from tests.support import tiny


@pytest.fixture(scope="module")
def variables():
    return reseg_jax.init(tiny.CONFIG, jax.random.key(0))


def test_every_public_name_is_there_and_documented():
    for name in reseg_jax.__all__:
        assert getattr(reseg_jax, name).__doc__ or name == "VOID", name


def test_without_arguments_the_papers_camvid_network():
    config = reseg_jax.ReSegConfig()
    assert (config.num_classes, config.vgg_layer, config.cell) == (11, "conv3_3", "gru")
    assert config.units == (100, 100)


def test_apply_jits_with_a_static_config_and_differentiates(variables):
    images, _ = tiny.images_and_labels(2)
    eager = reseg_jax.apply(tiny.CONFIG, variables, images)
    jitted = jax.jit(reseg_jax.apply, static_argnums=0)(tiny.CONFIG, variables, images)
    np.testing.assert_allclose(eager, jitted, rtol=1e-5, atol=1e-6)

    def loss(params, pixels):
        return reseg_jax.apply(tiny.CONFIG, {"params": params}, pixels).sum()

    pixels = images.astype(np.float32)
    for gradient in jax.tree.leaves(jax.grad(loss, argnums=(0, 1))(variables["params"], pixels)):
        assert jnp.isfinite(gradient).all()
        assert (gradient != 0).any()


def test_predict_is_the_argmax_of_apply(variables):
    images, _ = tiny.images_and_labels(2)
    labels = reseg_jax.predict(tiny.CONFIG, variables, images)
    logits = reseg_jax.apply(tiny.CONFIG, variables, images)
    np.testing.assert_array_equal(labels, np.argmax(logits, axis=-1))
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(reseg_jax.predict(tiny.CONFIG, variables, images[0]), labels[0])


def test_eval_shape_counts_without_computing():
    shapes = jax.eval_shape(
        functools.partial(reseg_jax.init, reseg_jax.ReSegConfig()), jax.random.key(0)
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 2_542_149  # the paper's, GRU


@pytest.mark.parametrize("shape", [(8, 10, 3), (2, 8, 10), (2, 8, 10, 4), (0, 8, 10, 3)])
def test_images_of_another_shape_are_refused(variables, shape):
    with pytest.raises(reseg_jax.UserError, match=r"give \[batch, height, width, 3\] RGB"):
        reseg_jax.apply(tiny.CONFIG, variables, np.zeros(shape, np.uint8))
