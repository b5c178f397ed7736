"""Cached features: the same network, keyed by everything they depend on."""

import dataclasses
import math
import threading

import jax
import numpy as np
import pytest

from data.batches import InMemory
from data.example import Example
from reseg_jax import api, devices
from reseg_jax.errors import UserError
from reseg_jax.training import feature_files, losses
from reseg_jax.training.feature_cache import CachedFeatures, FeatureCache
from tests.support import tiny
from tests.support.damage import abandoned_file, flip

CONFIG = tiny.VGG_CONFIG


@pytest.fixture(scope="module")
def variables():
    return api.init(CONFIG, jax.random.key(0))


@pytest.fixture(scope="module")
def images():
    return tiny.images_and_labels(3)[0]


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float16", 1e-3), ("bfloat16", 8e-3), ("float32", 1e-6)]
)
def test_losses_equal_those_of_the_uncached_network(tmp_path, variables, dtype, tolerance):
    images, labels = tiny.images_and_labels(3)
    cache = FeatureCache(CONFIG, variables, tmp_path, dtype)
    read = np.stack([cache.read(image)["conv1_1"] for image in images])
    assert read.dtype == dtype
    cached = losses.cross_entropy(api.head(CONFIG, variables, {"conv1_1": read}, (8, 10)), labels)
    whole = losses.cross_entropy(api.apply(CONFIG, variables, images), labels)
    np.testing.assert_allclose(cached, whole, rtol=tolerance)


def test_images_of_many_sizes_share_programs_and_keep_their_own_features(
    tmp_path, variables, monkeypatch
):
    images = [tiny.images_and_labels(1, size=size)[0][0] for size in ((9, 12), (17, 20), (17, 19))]
    alone = [
        np.asarray(api.features(CONFIG, variables, image[None])["conv1_1"][0]) for image in images
    ]
    shapes, features = [], api.features

    def watched(config, variables, images, **valid_size):
        if isinstance(images, np.ndarray):  # not when asked for shapes
            shapes.append(images.shape[1:3])
        return features(config, variables, images, **valid_size)

    monkeypatch.setattr(api, "features", watched)
    cache = FeatureCache(CONFIG, variables, tmp_path, "float32")
    for image, expected in zip(images, alone, strict=True):
        read = cache.read(image)["conv1_1"]
        assert read.shape == expected.shape
        np.testing.assert_allclose(read, expected, rtol=1e-5, atol=1e-5)
    assert shapes == [(9, 12), (20, 20), (20, 20)]


def test_computed_once(tmp_path, variables, images, monkeypatch):
    cache = FeatureCache(CONFIG, variables, tmp_path)
    assert len(cache.missing([*images, images[0]])) == 3
    first = np.array(cache.read(images[0])["conv1_1"])
    assert len(cache.missing(images)) == 2
    monkeypatch.setattr(api, "features", None)  # computing again would fail
    again = FeatureCache(CONFIG, variables, tmp_path).read(images[0])["conv1_1"]
    np.testing.assert_array_equal(again, first)


def test_the_place_depends_on_all_that_the_features_depend_on(tmp_path, variables, images):
    def place(config=CONFIG, variables=variables, dtype="float16", image=images[0]):
        return FeatureCache(config, variables, tmp_path, dtype).paths(image)["conv1_1"]

    other_weights = jax.tree.map(lambda x: x + 1, variables)
    other_pixel = images[0].copy()
    other_pixel[3, 3, 1] ^= 1
    places = [
        place(),
        place(config=dataclasses.replace(CONFIG, preprocessing="caffe")),
        place(variables=other_weights),
        place(dtype="float32"),
        place(image=other_pixel),
        place(image=images[0].reshape(10, 8, 3)),
    ]
    assert len(set(places)) == len(places)
    # The head is not among them: runs of different heads share their features.
    assert place(config=dataclasses.replace(CONFIG, units=(7,))) == places[0]


def test_a_mirrored_example_has_the_features_of_its_mirror_image(tmp_path, variables, images):
    example = Example("one", images[0], np.arange(80).reshape(8, 10))
    cache = FeatureCache(CONFIG, variables, tmp_path, "float32")
    features, label = CachedFeatures(InMemory([example]), cache).get(0, flipped=True)
    expected = api.features(CONFIG, variables, images[:1, :, ::-1])["conv1_1"][0]
    np.testing.assert_array_equal(features["conv1_1"], expected)
    np.testing.assert_array_equal(label, example.label[:, ::-1])


def test_what_does_not_fit_the_format_is_refused(tmp_path, variables, images):
    huge = jax.tree.map(lambda x: x * 1e6, variables)
    with pytest.raises(UserError, match=r"conv1_1 do not fit float16.*cache_dtype=bfloat16"):
        FeatureCache(CONFIG, huge, tmp_path).read(images[0])
    kept = FeatureCache(CONFIG, huge, tmp_path, "bfloat16").read(images[0])["conv1_1"]
    assert np.isfinite(kept).all() and kept.max() > np.finfo(np.float16).max


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, variables, images):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        FeatureCache(CONFIG, variables, tmp_path / "file").read(images[0])


DAMAGES = {
    "flipped": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_features_are_computed_again_and_named(tmp_path, variables, images, damage, caplog):
    cache = FeatureCache(CONFIG, variables, tmp_path)
    sound, path = np.array(cache.read(images[0])["conv1_1"]), cache.paths(images[0])["conv1_1"]
    damage(path)
    for reader in (cache, FeatureCache(CONFIG, variables, tmp_path)):  # the same process, and later
        np.testing.assert_array_equal(reader.read(images[0])["conv1_1"], sound)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert str(path) in record.getMessage()
    assert "computed again" in record.getMessage()


def test_features_of_an_older_version_are_computed_again_and_counted(
    tmp_path, variables, images, caplog
):
    cache = FeatureCache(CONFIG, variables, tmp_path)
    for image in images:
        maps = cache.read(image)
        np.save(cache.paths(image)["conv1_1"], maps["conv1_1"])
    with caplog.at_level("INFO", "reseg_jax"):
        assert len(cache.missing(images)) == len(images)
        for image in images:
            cache.read(image)
        assert not cache.missing(images)
    (record,) = caplog.records
    assert "features of 3 images are without a checksum" in record.getMessage()


def test_what_is_missing_is_kept_while_more_is_computed(tmp_path, variables, images, monkeypatch):
    """In one thread, and what is kept is what `read` computes by itself."""
    computing, features = set(), api.features

    def watched(*args, **valid_size):
        computing.add(threading.get_ident())
        return features(*args, **valid_size)

    monkeypatch.setattr(api, "features", watched)
    cache = FeatureCache(CONFIG, variables, tmp_path / "together")
    assert list(cache.keep(cache.missing(images))) == [1, 1, 1]
    assert computing == {threading.get_ident()}
    assert not cache.missing(images)
    alone = FeatureCache(CONFIG, variables, tmp_path / "alone")
    for image in images:
        np.testing.assert_array_equal(*(c.read(image)["conv1_1"] for c in (cache, alone)))


def test_damage_is_found_before_training(tmp_path, variables, images, caplog):
    cache = FeatureCache(CONFIG, variables, tmp_path)
    list(cache.keep(images))
    flip(cache.paths(images[1])["conv1_1"])
    (found,) = FeatureCache(CONFIG, variables, tmp_path).missing([*images, images[1]])
    np.testing.assert_array_equal(found, images[1])
    assert "damaged (checksums differ): computed again" in caplog.text


@pytest.mark.parametrize("share", [0.9, 1.1])
def test_a_disk_without_room_is_refused_before_anything_is_written(
    tmp_path, variables, images, monkeypatch, share
):
    """What counts is what is not 0: of three images' 2-byte numbers half, and a bit for each."""
    shape = FeatureCache(CONFIG, variables, tmp_path).shapes(images[0].shape[:2])["conv1_1"]
    flat = np.zeros((1, *shape), np.float32)
    flat[:, ::2] = 1  # every other one of 8 rows
    monkeypatch.setattr(api, "features", lambda *_, **__: {"conv1_1": flat})
    needed = 3 * math.prod(shape) * (2 / 2 + 1 / 8)
    monkeypatch.setattr(feature_files, "free_bytes", lambda _: int(share * needed) + 30 * 3)
    cache = FeatureCache(CONFIG, variables, tmp_path)
    monkeypatch.setattr(cache, "shapes", lambda _: {"conv1_1": shape})
    if share > 1:
        assert list(cache.keep(images)) == [1, 1, 1]
        return
    with pytest.raises(UserError, match=r"3 images need about .* GB .*--cache_dir.*cache_features"):
        list(cache.keep(images))
    assert not any(tmp_path.iterdir())


def test_a_file_is_verified_once(tmp_path, variables, images, monkeypatch):
    cache = FeatureCache(CONFIG, variables, tmp_path)
    cache.read(images[0])
    monkeypatch.setattr(feature_files, "problem", None)  # to verify again would fail
    cache.read(images[0])


def test_a_disk_that_gives_back_other_bytes_is_one_sentence(
    tmp_path, variables, images, monkeypatch
):
    monkeypatch.setattr(feature_files, "problem", lambda path: "checksums differ")
    with pytest.raises(UserError, match=r"reads back wrong .*--cache_dir"):
        FeatureCache(CONFIG, variables, tmp_path).read(images[0])


def test_what_killed_processes_left_is_removed(tmp_path, variables):
    cache = FeatureCache(CONFIG, variables, tmp_path)
    (folder,) = cache.directories.values()
    left = abandoned_file(folder)
    cache.remove_abandoned()
    assert not left.exists()


def test_maps_damaged_in_a_training_are_computed_on_one_device(
    tmp_path, variables, images, row, monkeypatch
):
    """A program over all devices may wait for the training's for ever, and it for this one."""
    used, features = [], api.features

    def watched(config, variables, images, **valid_size):
        found = features(config, variables, images, **valid_size)
        leaves = jax.tree.leaves((variables, found))
        used.extend(leaf.devices() for leaf in leaves if isinstance(leaf, jax.Array))
        return found

    with jax.set_mesh(row):
        cache = FeatureCache(CONFIG, devices.everywhere(variables), tmp_path)
        expected = cache.read(images[0])["conv1_1"]
        (path,) = cache.paths(images[0]).values()
        flip(path)
        monkeypatch.setattr(api, "features", watched)
        np.testing.assert_array_equal(cache.read(images[0])["conv1_1"], expected)
    assert used
    assert all(each == set(jax.devices()[:1]) for each in used)
