"""A network as one file: there and back, and what is said of a file that is none."""

import jax
import numpy as np
import pytest

import reseg_jax
from reseg_jax import model
from reseg_jax.errors import UserError
from tests import tiny


@pytest.fixture(scope="module")
def variables():
    return model.init(tiny.VGG_CONFIG, jax.random.key(0))


@pytest.fixture
def saved(tmp_path, variables):
    path = tmp_path / "network.npz"
    reseg_jax.save(path, tiny.VGG_CONFIG, variables)
    return path


def rewrite(path, change):
    with np.load(path) as entries:
        arrays = dict(entries)
    change(arrays)
    np.savez(path, **arrays)


def test_there_and_back(saved, variables):
    config, loaded = reseg_jax.load(saved)
    assert config == tiny.VGG_CONFIG
    assert jax.tree.structure(loaded) == jax.tree.structure(variables)
    for ours, theirs in zip(jax.tree.leaves(loaded), jax.tree.leaves(variables), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    images = tiny.images_and_labels(1)[0]
    np.testing.assert_array_equal(
        reseg_jax.apply(config, loaded, images), reseg_jax.apply(config, variables, images)
    )


def test_entries_have_the_documented_names(saved):
    with np.load(saved) as entries:
        names = set(entries)
    assert {
        "config",
        "vgg/conv1_1/kernel",
        "renet_0/vertical/forward/input_kernel",
        "renet_0/horizontal/backward/recurrent_kernel",
        "upsample_0/kernel",
        "classifier/bias",
    } <= names


def test_a_wrong_shape_names_the_parameter_and_both_shapes(saved):
    rewrite(saved, lambda arrays: arrays.update({"classifier/kernel": np.zeros((4, 3))}))
    with pytest.raises(UserError, match=r"classifier/kernel has shape \(4, 3\).*needs \(4, 2\)"):
        reseg_jax.load(saved)


def test_a_missing_parameter_is_named(saved):
    rewrite(saved, lambda arrays: arrays.pop("renet_0/vertical/forward/bias"))
    with pytest.raises(UserError, match="renet_0/vertical/forward/bias is missing"):
        reseg_jax.load(saved)


@pytest.mark.parametrize("content", [b"no archive", b"PK\x03\x04 cut off"])
def test_a_file_that_is_none_is_one_sentence(tmp_path, content):
    path = tmp_path / "network.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"network\.npz is no network saved by reseg_jax\.save"):
        reseg_jax.load(path)


def test_a_truncated_file_is_one_sentence(saved):
    saved.write_bytes(saved.read_bytes()[:-400])
    with pytest.raises(UserError, match="is no network saved by"):
        reseg_jax.load(saved)


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        reseg_jax.load(tmp_path / "network.npz")
