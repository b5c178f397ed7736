"""Lines and images that end before their array does: each gives what it gives alone."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from data import Example
from data.batches import Batches, InMemory
from experiments import trainer
from reseg_jax import api
from reseg_jax.padding import clear
from reseg_jax.recurrent.sweep import GATES, sweep
from reseg_jax.training import optimizers
from reseg_jax.training.losses import cross_entropy
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.trained import load_run
from reseg_jax.training.workdir import About, claim
from tests.support import reference, tiny
from tests.support.reference import assert_close

LENGTHS = [4, 7, 0, 1]
SIZES = [(7, 11), (12, 5), (8, 8)]
PIXELS = dataclasses.replace(tiny.CONFIG, patch_sizes=((2, 2),), units=(3,))
CONFIGS = pytest.mark.parametrize("config", [PIXELS, tiny.VGG_CONFIG], ids=["pixels", "vgg"])


def test_clear_by_hand():
    x = np.ones((2, 2, 3, 1), np.float32)
    alike = clear(x, np.int32([1, 2]))[..., 0]
    np.testing.assert_array_equal(alike, [[[1, 1, 0], [0, 0, 0]]] * 2)
    each = clear(x, np.int32([[1, 2], [2, 1]]))[..., 0]
    np.testing.assert_array_equal(each, [alike[0], [[1, 0, 0], [1, 0, 0]]])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", GATES)
@pytest.mark.parametrize("remat", [False, True])
def test_lines_of_many_lengths(cell, reverse, remat):
    """Outputs by the oracle's loop, gradients by a sweep over each line's own steps."""
    rng = np.random.default_rng(0)
    params, lines, weights = jax.tree.map(
        np.float32,
        (
            reference.random_direction(rng, 3, 2, cell),
            rng.normal(size=(7, len(LENGTHS), 3)),
            rng.normal(size=(7, len(LENGTHS), 2)),
        ),
    )

    def together(params, lines):
        found = sweep(params, lines, cell, reverse, remat=remat, lengths=np.int32(LENGTHS))
        own = np.arange(7)[:, None] < LENGTHS
        return np.sum(weights * jax.numpy.where(own[..., None], found, 0)), found

    def alone(params, lines):
        return sum(
            np.sum(weights[:n, i] * sweep(params, lines[:n, i : i + 1], cell, reverse)[:, 0])
            for i, n in enumerate(LENGTHS)
            if n
        )

    (_, found), gradient = jax.value_and_grad(together, (0, 1), has_aux=True)(params, lines)
    for i, n in enumerate(LENGTHS):
        if n:
            expected = reference.sweep(params, lines[:n, i : i + 1], cell, reverse)
            assert_close(found[:n, i : i + 1], expected)
    jax.tree.map(assert_close, gradient, jax.grad(alone, (0, 1))(params, lines))
    assert not np.asarray(gradient[1])[1:, 3].any()  # steps behind the end


def padded(images, height=12, width=11):
    """Images of any size in one array, with noise where they do not reach."""
    array = np.random.default_rng(9).integers(0, 256, (len(images), height, width, 3), np.uint8)
    for place, image in zip(array, images, strict=True):
        place[: image.shape[0], : image.shape[1]] = image
    return array


@CONFIGS
def test_images_of_many_sizes_in_one_batch(config):
    variables = jax.tree.map(lambda leaf: 2 * leaf, api.init(config, jax.random.key(0)))
    images = [tiny.images_and_labels(1, size=size)[0][0] for size in SIZES]
    found = api.apply(config, variables, padded(images), valid_size=np.int32(SIZES))
    for logits, image in zip(found, images, strict=True):
        height, width, _ = image.shape
        assert_close(logits[:height, :width], api.apply(config, variables, image[None])[0])


@pytest.mark.slow
def test_divided_over_devices(row):
    with jax.set_mesh(row):
        test_images_of_many_sizes_in_one_batch(PIXELS)


@pytest.mark.slow
@CONFIGS
def test_an_update_on_a_padded_batch_is_that_of_its_images(config, tmp_path, monkeypatch):
    """The mean of each image's own gradient, found without padding: what `train` trains with.

    By plain gradient descent, whose update is the gradient.
    """
    examples = []
    for number, size in enumerate(SIZES):
        (image,), (label,) = tiny.images_and_labels(1, number, size)
        examples.append(Example(str(number), image, label))
    variables = api.init(config, jax.random.key(0))
    monkeypatch.setattr(optimizers, "make", lambda *_: optax.sgd(1.0))
    settings = TrainSettings(epochs=1, batch_size=3, l2=0.0, cache_dtype="float32")
    run = About(config, settings, tiny.CLASSES)
    claim(tmp_path, run)
    trainer.train(tmp_path, run, variables, examples, examples, tmp_path / "cache")
    updated = load_run(tmp_path).variables["params"]

    def loss(params):
        alone = (
            cross_entropy(
                api.apply(config, variables | {"params": params}, image[None]), label[None]
            )
            for _, image, label in examples
        )
        return sum(one[0] for one in alone) / len(examples)

    gradient = jax.jit(jax.grad(loss))(variables["params"])
    expected = jax.tree.map(lambda value, slope: value - slope, variables["params"], gradient)
    jax.tree.map(lambda a, b: assert_close(a, np.asarray(b), 1e-4), updated, expected)


def test_batches_say_it_where_sizes_differ():
    images = [
        Example(str(i), np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8))
        for i, size in enumerate(SIZES)
    ]
    (batch,) = map(Batches(InMemory(images), 3, shuffle=False).batch, range(1))
    np.testing.assert_array_equal(batch["valid_size"], SIZES)
    alike = Batches(InMemory(images[:1] * 3), 2).batch(1)  # one of them is blank
    assert "valid_size" not in alike
    by_size = Batches(InMemory(images[:2] * 2), 2, buckets=2)
    assert all("valid_size" not in by_size.batch(step) for step in range(2))
