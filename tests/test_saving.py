"""A network as one file: there and back, and what is said of a file that is none."""

import dataclasses

import jax
import numpy as np
import pytest

import data
import reseg_jax
from reseg_jax import api, metrics
from reseg_jax.backbones import pretrained
from reseg_jax.errors import UserError
from tests.support import tiny


@pytest.fixture(scope="module")
def variables():
    return api.init(tiny.VGG_CONFIG, jax.random.key(0))


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


# --- heads without their VGG ----------------------------------------------------------------------


@pytest.fixture
def vgg_file(tmp_path, variables):
    """The VGG of the network as a file of its own."""
    path = tmp_path / "vgg.npz"
    layers = variables["frozen"]["vgg"]
    entries = {f"{n}/{part}": array for n, layer in layers.items() for part, array in layer.items()}
    np.savez(path, preprocessing="torchvision", **entries)
    return path


def test_a_head_and_its_vgg_are_the_network_again(tmp_path, variables, vgg_file):
    path = tmp_path / "head.npz"
    reseg_jax.save(path, tiny.VGG_CONFIG, variables, head_only=True)
    with np.load(path) as entries:
        assert not [name for name in entries if name.startswith("vgg/")]
        assert entries["classifier/kernel"].dtype == np.float16
    config, loaded = reseg_jax.load(path, vgg_weights=vgg_file)
    assert config == tiny.VGG_CONFIG
    assert jax.tree.structure(loaded) == jax.tree.structure(variables)
    for ours, theirs in zip(jax.tree.leaves(loaded), jax.tree.leaves(variables), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=2**-10, atol=1e-7)  # float16's rounding


def test_a_head_over_another_vgg_is_refused(tmp_path, variables, vgg_file):
    path = tmp_path / "head.npz"
    config = dataclasses.replace(tiny.VGG_CONFIG, preprocessing="caffe")
    reseg_jax.save(path, config, variables, head_only=True)
    with pytest.raises(
        UserError, match=r"head.npz was trained over .* caffe .*are for torchvision"
    ):
        reseg_jax.load(path, vgg_weights=vgg_file)


def test_a_heads_name_stands_for_its_file(tmp_path, variables, vgg_file, monkeypatch):
    monkeypatch.setattr("reseg_jax.saving.TRAINED", tmp_path)
    reseg_jax.save(tmp_path / "streets.npz", tiny.VGG_CONFIG, variables, head_only=True)
    assert reseg_jax.load("streets", vgg_weights=vgg_file)[0] == tiny.VGG_CONFIG


def test_without_weights_the_heads_own_are_fetched(tmp_path, variables, vgg_file, monkeypatch):
    """Those of the preprocessing that the head was trained with, by the download that is tested."""
    asked = []

    def fetch(source):
        asked.append(source)
        return vgg_file

    monkeypatch.setattr("reseg_jax.backbones.pretrained._fetch", fetch)
    path = tmp_path / "head.npz"
    reseg_jax.save(path, tiny.VGG_CONFIG, variables, head_only=True)
    reseg_jax.load(path)
    assert asked == [pretrained.TORCHVISION]


@pytest.mark.slow
def test_the_head_that_comes_with_the_package_knows_streets(real_data, vgg_weights_path):
    """Every twentieth validation frame; by chance it would be below a tenth."""
    config, network = reseg_jax.load("camvid", vgg_weights=vgg_weights_path)
    examples = data.load("camvid", "val", real_data)[::20]
    matrix = sum(
        metrics.confusion_matrix(e.label, reseg_jax.predict(config, network, e.image), 11)
        for e in examples
    )
    assert metrics.summarize(matrix)["miou"] > 0.6
