"""The ReNet classifier: the loops, the mean over what counts, and that it learns digits."""

import dataclasses

import jax
import numpy as np
import pytest

import data
from experiments import trainer
from experiments.presets import PRESETS
from reseg_jax import api
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import UserError
from reseg_jax.networks.renet import ReNetConfig, mean_of_cells
from reseg_jax.training.workdir import About, claim
from tests.support import reference
from tests.support.networks import SMALL, images_of, random_variables
from tests.support.reference import assert_close


@pytest.mark.parametrize("cell", ["gru", "mingru"])
def test_equals_the_loops(cell):
    """5x7 pixels: patches that the image fills in part are cells like the others."""
    config = dataclasses.replace(SMALL["renet"], cell=cell)
    variables, images = random_variables(config), images_of(2, (5, 7))
    params = reference.float64(variables["params"])
    x = images / 255
    for i, patch_size in enumerate(config.patch_sizes):
        x = reference.renet_layer(params[f"renet_{i}"], x, patch_size, cell)
    x = x.reshape(2, -1, x.shape[-1]).sum(axis=1) / (x.shape[1] * x.shape[2])
    for i in range(len(config.fc_channels)):
        x = np.maximum(x @ params[f"fc_{i}"]["kernel"][0, 0] + params[f"fc_{i}"]["bias"], 0)
    logits = x @ params["classifier"]["kernel"] + params["classifier"]["bias"]
    expected = np.broadcast_to(logits[:, None, None], (2, 5, 7, config.outputs))
    assert_close(api.apply(config, variables, images), expected, 1e-5)


def test_the_mean_is_of_the_cells_that_count():
    x = np.arange(12, dtype=np.float32).reshape(1, 3, 4, 1).repeat(2, axis=0)
    for valid_size, expected in (
        (None, [5.5, 5.5]),
        ([[2, 2], [1, 4]], [2.5, 1.5]),  # of 0 1 4 5, and of 0 1 2 3
        ([0, 0], [0, 0]),
    ):
        valid_size = None if valid_size is None else np.int32(valid_size)
        np.testing.assert_array_equal(mean_of_cells(x, valid_size).ravel(), expected)


def test_images_of_two_sizes_in_one_array_give_what_they_give_alone():
    config = SMALL["renet"]
    variables = random_variables(config)
    images = [images_of(1, size, seed)[0] for seed, size in enumerate([(5, 7), (8, 4)])]
    together = np.zeros((2, 8, 8, 3), np.uint8)
    for place, image in zip(together, images, strict=True):
        place[: image.shape[0], : image.shape[1]] = image
    sizes = np.int32([image.shape[:2] for image in images])
    found = api.apply(config, variables, together, valid_size=sizes)
    for image, logits in zip(images, found, strict=True):
        alone = api.apply(config, variables, image[None])[0, 0, 0]
        assert_close(logits[0, 0], np.asarray(alone), 1e-5)


@pytest.mark.parametrize(
    ("changes", "reported"),
    [
        ({"backbone": VGG16()}, "ReNet reads the pixels"),
        ({"units": (4,)}, "patch_sizes has 3 layers and units 1"),
        ({"units": (4, 4, 0)}, "all numbers at least 1"),
        ({"fc_channels": (0,)}, "give numbers from 1"),
        ({"patch_sizes": ((2, 2), (2, 2), (2,))}, r"\(height, width\) pairs"),
        ({"cell": "elman"}, "cell='elman'"),
    ],
)
def test_what_it_cannot_be(changes, reported):
    with pytest.raises(UserError, match=reported):
        ReNetConfig(**changes)


@pytest.mark.slow
def test_it_learns_digits(tmp_path):
    """`--preset=digits` reaches more than 95 % in 10 epochs; chance is 10 %."""
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    preset = PRESETS["digits"]
    run = About(
        preset.config, dataclasses.replace(preset.settings, epochs=5), data.classes("digits")
    )
    claim(tmp_path / "run", run)
    start = api.init(run.config, jax.random.key(0))
    train, val = (data.load("digits", split) for split in ("train", "val"))
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam multiplies by Python's numbers
        history = trainer.train(tmp_path / "run", run, start, train, val, tmp_path / "cache")
    assert history[-1]["val"]["global_accuracy"] > 0.9
