"""A batch in parts: the update of the whole batch, and what differs by part."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.labels import VOID
from reseg_jax.training import optimizers
from reseg_jax.training.losses import Loss
from reseg_jax.training.step import create_state, make_train_step
from tests.support.networks import SMALL, images_of, random_variables

SIZE = (22, 27)
LOSS = Loss(l2=1e-2, class_weights=(0.5, 2.0, 1.0))


def batch_of(weight):
    """Images, of which those of weight 0 only fill the batch up."""
    images = images_of(len(weight), SIZE)
    labels = np.minimum(images.mean(axis=-1) // 86, 2).astype(np.uint8)
    labels[:, 0, :3] = VOID
    return {"image": images, "label": labels, "weight": np.float32(weight)}


def without_dropout(config):
    if hasattr(config, "dropout"):
        return dataclasses.replace(config, dropout=0.0)
    return dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, dropout=0.0))


# SGD's rate makes its updates as large as the parameters: their gradients are what is compared.
@pytest.mark.parametrize(
    ("label", "optimizer"),
    [
        ("reseg", optimizers.make("adadelta")),
        ("fcn, 8s", optimizers.make("sgd", 1e-2)),
        pytest.param("reseg", optimizers.make("sgd", 1e-2), marks=pytest.mark.slow),
        pytest.param("fcn, 8s", optimizers.make("adadelta"), marks=pytest.mark.slow),
        pytest.param("unet, valid", optimizers.make("adadelta"), marks=pytest.mark.slow),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("weight", [(1, 1, 1, 0), (1, 1, 0, 0)])
def test_the_update_is_that_of_the_whole_batch(label, optimizer, weight):
    """With a part that is filled up, and with one that has no real image."""
    config = without_dropout(SMALL[label])
    state, batch = create_state(random_variables(config), optimizer), batch_of(weight)
    found, expected = (
        make_train_step(api.build(config).logits, optimizer, LOSS, parts=parts)(state, batch)
        for parts in (2, 1)
    )
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-6)

    def close(path, before, ours, theirs):
        size = max(1.0, np.abs(np.asarray(theirs) - before).max())
        name = jax.tree_util.keystr(path)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 * size, err_msg=name)

    trees = (each.variables["params"] for each in (state, found[0], expected[0]))
    jax.tree_util.tree_map_with_path(close, *trees)


def linear(variables, images, size, **_):
    """Logits by one kernel."""
    return images @ variables["params"]["kernel"], {}


def test_hardest_pixels_and_weights_of_pixels_are_those_of_the_whole_batch(key):
    """As both belong to an image, whatever part it comes in."""
    rng = np.random.default_rng(0)
    batch = batch_of((1, 1, 1, 0))
    batch["image"] = batch["image"] / np.float32(255)
    batch["pixel_weights"] = rng.uniform(0, 10, batch["label"].shape).astype(np.float32)
    optimizer = optimizers.make("sgd", 1e-2)
    state = create_state({"params": {"kernel": jax.random.normal(key, (3, 3))}}, optimizer)
    loss = dataclasses.replace(LOSS, bootstrap=0.25)
    found, expected, plain = (
        make_train_step(linear, optimizer, loss_fn, parts=parts)(state, batch)
        for loss_fn, parts in ((loss, 2), (loss, 1), (LOSS, 1))
    )
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-6)
    assert expected[1] < plain[1]
    kernels = (each[0].variables["params"]["kernel"] for each in (found, expected))
    np.testing.assert_allclose(*kernels, rtol=1e-5)


def summing(variables, images, size, *, train, dropout_key, weight, **_):
    """Logits by one kernel; statistics as batch normalization has them, and what was drawn."""
    statistics = variables["batch_stats"]
    real = (weight != 0).astype(images.dtype)
    mean = (images.mean(axis=(1, 2, 3)) * real).sum() / real.sum()
    drawn = jnp.append(statistics["drawn"][1:], jax.random.uniform(dropout_key))
    changed = {"mean": 0.9 * statistics["mean"] + 0.1 * mean, "drawn": drawn}
    return images @ variables["params"]["kernel"], {"batch_stats": changed}


def test_statistics_go_from_part_to_part_and_keys_differ(key):
    """By hand; the last part has no real image, and its mean would be no number."""
    images = jax.random.normal(key, (6, 2, 2, 3))
    batch = {
        "image": images,
        "label": np.zeros((6, 2, 2), np.uint8),
        "weight": np.float32([1, 1, 1, 0, 0, 0]),
    }
    optimizer = optimizers.make("sgd", 1.0)
    statistics = {"mean": jnp.float32(1), "drawn": jnp.zeros(3)}
    state = create_state({"params": {"kernel": jnp.eye(3)}, "batch_stats": statistics}, optimizer)
    update = make_train_step(summing, optimizer, Loss(), dropout_seed=0, parts=3)
    state, loss = update(state, batch)
    expected = 0.9 * (0.9 + 0.1 * images[:2].mean()) + 0.1 * images[2].mean()
    found = state.variables["batch_stats"]
    np.testing.assert_allclose(found["mean"], expected, rtol=1e-5)
    assert found["drawn"][0] == 0  # the first part's place: two parts drew
    assert len(set(found["drawn"].tolist())) == 3
    assert np.isfinite(loss)
    assert np.isfinite(state.variables["params"]["kernel"]).all()
    again, _ = update(state, batch)
    drawn = again.variables["batch_stats"]["drawn"]
    assert not set(drawn[1:].tolist()) & set(found["drawn"].tolist())  # another step, other keys


def test_a_batch_in_parts_is_divided_over_devices(row):
    config = SMALL["reseg, no VGG"]
    optimizer = optimizers.make("sgd", 1e-4)
    state, batch = create_state(random_variables(config), optimizer), batch_of((1, 1, 1, 0))
    update = make_train_step(api.build(config).logits, optimizer, LOSS, parts=2)
    one = update(state, batch)[0].variables
    with jax.set_mesh(row):
        two = update(state, batch)[0].variables
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), two, one)
