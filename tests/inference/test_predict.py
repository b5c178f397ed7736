"""Prediction: shapes and dtypes in and out, the mirror average, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax import api, compiled
from reseg_jax.errors import UserError
from reseg_jax.inference import predict
from reseg_jax.networks.reseg import ReSegConfig
from reseg_jax.padding import pad_to

CONFIG = ReSegConfig.no_vgg(
    num_classes=4,
    patch_sizes=((2, 2),),
    units=(3,),
    upsample_sizes=((2, 2),),
    upsample_channels=(3,),
)


@pytest.fixture(scope="module")
def variables():
    return api.init(CONFIG, jax.random.key(1))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), np.uint8)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def test_labels_are_the_largest_logit_of_each_pixel(variables, images):
    logits = np.asarray(api.apply(CONFIG, variables, images))
    labels = predict.predict(CONFIG, variables, images)
    assert (labels.dtype, labels.shape) == (np.uint8, (2, 5, 7))
    np.testing.assert_array_equal(labels, logits.argmax(-1))
    assert len(np.unique(labels)) > 1  # else anything would pass


def test_one_image_is_a_batch_of_one_and_float_is_as_good_as_uint8(variables, images):
    one = predict.predict(CONFIG, variables, images[1])
    assert one.shape == (5, 7)
    np.testing.assert_array_equal(one, predict.predict(CONFIG, variables, images)[1])
    wide = images[1].astype(np.float64)
    np.testing.assert_array_equal(one, predict.predict(CONFIG, variables, wide))


def test_probabilities_are_the_softmax_of_the_logits(variables, images):
    logits = np.asarray(api.apply(CONFIG, variables, images), np.float64)
    probabilities = predict.predict_probabilities(CONFIG, variables, images)
    assert (probabilities.dtype, probabilities.shape) == (np.float32, (2, 5, 7, 4))
    np.testing.assert_allclose(probabilities, softmax(logits), atol=1e-6)


def test_flip_averages_over_the_image_and_its_mirror_image(variables, images):
    plain = softmax(np.asarray(api.apply(CONFIG, variables, images), np.float64))
    mirrored = softmax(np.asarray(api.apply(CONFIG, variables, images[:, :, ::-1]), np.float64))
    mean = (plain + mirrored[:, :, ::-1]) / 2
    assert np.abs(mean - plain).max() > 1e-3  # the network is not symmetric by itself
    flipped = predict.predict_probabilities(CONFIG, variables, images, flip=True)
    np.testing.assert_allclose(flipped, mean, atol=1e-6)
    labels = predict.predict(CONFIG, variables, images, flip=True)
    np.testing.assert_array_equal(labels, flipped.argmax(-1))


def test_a_mirrored_image_gets_mirrored_labels_with_flip(variables, images):
    labels = predict.predict(CONFIG, variables, images, flip=True)
    mirrored = predict.predict(CONFIG, variables, images[:, :, ::-1], flip=True)
    np.testing.assert_array_equal(mirrored, labels[:, :, ::-1])


def test_a_shape_is_compiled_once(variables, monkeypatch):
    traced = []
    apply = api.apply

    def counting(*arguments, **named):
        traced.append(1)
        return apply(*arguments, **named)

    monkeypatch.setattr(api, "apply", counting)
    for value in (0, 9):
        predict.predict(CONFIG, variables, np.full((3, 4, 3), value, np.uint8))
    assert len(traced) == 1


def test_another_size_is_computed_on_one_that_is_compiled(variables, monkeypatch):
    """And gives what it gives by itself."""
    seen = []
    monkeypatch.setattr(predict, "pad_to", lambda x, size: seen.append(size) or pad_to(x, size))
    compiled.common_sizes.cache_clear()
    images = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    for height, width in ((40, 50), (36, 45), (20, 20)):
        image = images[:height, :width]
        labels = predict.predict(CONFIG, variables, image)
        own = predict.predict(CONFIG, variables, image, padded_size=(height, width))
        np.testing.assert_array_equal(labels, own)
    assert seen == [(40, 50), (40, 50), (40, 50), (36, 45), (20, 20), (20, 20)]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((5, 7), np.uint8), r"shape \(5, 7\): give \[height, width, 3\]"),
        (np.zeros((5, 7, 4), np.uint8), r"shape \(5, 7, 4\)"),
        (np.zeros((0, 7, 3), np.uint8), r"shape \(0, 7, 3\)"),
        (np.zeros((5, 7, 3), np.int32), "int32: give uint8 or float"),
        (np.zeros((5, 7, 3), bool), "bool: give uint8 or float"),
        (np.full((5, 7, 3), -0.5), "outside 0..255"),
        (np.full((5, 7, 3), 256.0), "outside 0..255"),
        (np.full((5, 7, 3), np.nan), "not finite"),
        (np.full((5, 7, 3), 0.5), "floats from 0 to 0.5, as if 1 were white"),
        (np.ones((5, 7, 3), np.float16), "floats from 0 to 1, .*255 times these"),
        (jnp.ones((5, 7, 3), jnp.bfloat16), "floats from 0 to 1"),
        (np.zeros((3, 5, 7), np.uint8), r"shape \(3, 5, 7\).*the channels come last"),
        (np.zeros((5, 7, 1), np.uint8), "repeat a gray image"),
        ([np.zeros((5, 7, 3)), np.zeros((6, 7, 3))], r"several shapes, \(5, 7, 3\), \(6, 7, 3\)"),
        ("photo.jpg", "images are a str: give an array"),
        (None, "images are a NoneType"),
    ],
)
def test_what_is_no_image_is_refused(variables, bad, message):
    with pytest.raises(UserError, match=message):
        predict.predict(CONFIG, variables, bad)


def test_a_list_of_images_of_one_size_is_a_batch(variables, images):
    expected = predict.predict(CONFIG, variables, images)
    np.testing.assert_array_equal(predict.predict(CONFIG, variables, list(images)), expected)
    np.testing.assert_array_equal(predict.predict(CONFIG, variables, images.astype("f2")), expected)


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        ("camvid", {}, "config is a str: give a config"),
        (CONFIG, None, "variables are a NoneType"),
        (CONFIG, {"params": {}}, "params/classifier/bias is missing in variables"),
        (dataclasses.replace(CONFIG, num_classes=5), {}, r"bias has shape .* needs \(5,\)"),
    ],
)
def test_what_is_no_network_is_refused(variables, images, config, change, message):
    given = None if change is None else variables | change
    for function in (predict.predict, predict.predict_probabilities, api.apply):
        with pytest.raises(UserError, match=message):
            function(config, given, images)
