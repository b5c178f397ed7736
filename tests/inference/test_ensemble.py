"""Averaged probabilities: against means taken by hand, and what is computed how often."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest
from PIL import Image

from reseg_jax import api, labels
from reseg_jax.errors import UserError
from reseg_jax.inference import ensemble, predict, views
from reseg_jax.inference.ensemble import Views, probabilities, uncertainty
from reseg_jax.labels import VOID
from reseg_jax.networks.unet import UNetConfig
from reseg_jax.training import loop
from reseg_jax.training.checkpoints import Checkpoints
from reseg_jax.training.losses import Loss
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.step import create_state, make_predict_step, make_train_step
from reseg_jax.training.trained import load_members, load_run, make_optimizer
from reseg_jax.training.workdir import About, claim
from tests.support import tiny
from tests.support.networks import random_variables

CONFIG = dataclasses.replace(tiny.CONFIG, dropout=0.5)
VGG_CONFIG = dataclasses.replace(tiny.VGG_CONFIG, dropout=0.5)
IMAGE = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


@pytest.fixture(scope="module")
def members():
    """Two networks of one config, with parameters large enough to be of different opinions."""

    def network(seed):
        return jax.tree.map(lambda leaf: 3 * leaf, api.init(CONFIG, jax.random.key(seed)))

    return [network(1), network(2)]


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def plain(variables, image, config=CONFIG):
    """The softmax of one network on one image [H, W, 3]."""
    return softmax(np.asarray(api.apply(config, variables, image[None])[0], np.float64))


def resized(maps, size):
    """[H, W, C] by Pillow, whose bilinear filter widens too where it shrinks."""
    channels = [
        Image.fromarray(channel.astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
        for channel in np.moveaxis(maps, -1, 0)
    ]
    return np.stack(channels, axis=-1)


def close(found, expected, tolerance=1e-5):
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def test_of_one_network_and_one_view_it_is_the_prediction(members):
    for scales in ((1.0,), (1.0, 1.0)):
        found = probabilities(CONFIG, members[:1], IMAGE, Views(scales=scales))
        close(found, plain(members[0], IMAGE))
        expected = predict.predict(CONFIG, members[0], IMAGE)
        np.testing.assert_array_equal(labels.likeliest(found, 2), expected)
        assert len(np.unique(expected)) > 1  # else anything would pass


def test_members_count_alike(members):
    one, two = (plain(variables, IMAGE) for variables in members)
    assert np.abs(one - two).max() > 0.1
    close(probabilities(CONFIG, members, IMAGE), (one + two) / 2)
    close(probabilities(CONFIG, [*members, members[0]], IMAGE), (2 * one + two) / 3)


def test_scales_show_the_image_enlarged_and_take_the_answer_back(members):
    sizes = [(3, 4), (6, 9), (9, 14)]  # 0.5 * 9 and 1.5 * 9 round to even
    seen = [resized(plain(members[0], resized(IMAGE, size)), IMAGE.shape[:2]) for size in sizes]
    assert np.abs(seen[0] - seen[1]).max() > 0.01
    found = probabilities(CONFIG, members[:1], IMAGE, Views(scales=(0.5, 1, 1.5)))
    close(found, np.mean(seen, axis=0), 1e-4)
    close(found.sum(axis=-1), np.ones(IMAGE.shape[:2]))


def test_a_view_is_never_without_a_pixel(members):
    found = probabilities(CONFIG, members[:1], IMAGE, Views(scales=(0.01,)))
    assert found.shape == (6, 9, 2)
    assert np.ptp(np.asarray(found), axis=(0, 1)).max() < 1e-6  # all from the only one


def test_mirror_images_of_every_scale_make_it_symmetric(members):
    """Only if every view comes back to the pixels that it came from."""
    both = Views(flip=True, scales=(0.5, 1.0, 1.4))
    found = probabilities(CONFIG, members, IMAGE, both)
    mirrored = probabilities(CONFIG, members, IMAGE[:, ::-1], both)
    close(mirrored, np.asarray(found)[:, ::-1])
    alone = probabilities(CONFIG, members, IMAGE, Views(scales=both.scales))
    assert np.abs(alone - found).max() > 1e-3


def test_everything_combines_to_the_mean_of_every_term(members):
    scales = (1.0, 1.5)
    terms = [
        np.asarray(probabilities(CONFIG, [member], image, Views(scales=(scale,))))[:, ::way]
        for member, scale in itertools.product(members, scales)
        for image, way in ((IMAGE, 1), (IMAGE[:, ::-1], -1))
    ]
    found = probabilities(CONFIG, members, IMAGE, Views(flip=True, scales=scales))
    close(found, np.mean(terms, axis=0))


def test_a_batch_is_its_images(members):
    batch = np.stack([IMAGE, IMAGE[::-1]])
    both = Views(flip=True, scales=(1.0, 0.7))
    found = probabilities(CONFIG, members, batch, both)
    for image, one in zip(batch, found, strict=True):
        close(probabilities(CONFIG, members, image, both), one)


def test_samples_leave_dropout_on_and_differ(members):
    """Three samples are the mean of three passes with three keys; the seed decides them."""
    three = probabilities(CONFIG, members[:1], IMAGE, Views(samples=3), seed=5)
    features = api.features(CONFIG, members[0], IMAGE[None])
    passes = []
    for term in range(3):
        key = jax.random.fold_in(jax.random.key(5), term)
        logits = api.head(CONFIG, members[0], features, IMAGE.shape[:2], dropout_key=key)
        passes.append(softmax(np.asarray(logits[0], np.float64)))
    assert np.abs(passes[0] - passes[1]).max() > 0.05
    close(three, np.mean(passes, axis=0))
    again = probabilities(CONFIG, members[:1], IMAGE, Views(samples=3), seed=5)
    np.testing.assert_array_equal(again, three)
    other = probabilities(CONFIG, members[:1], IMAGE, Views(samples=3), seed=6)
    for different in (other, plain(members[0], IMAGE)):
        assert np.abs(different - three).max() > 0.01


def test_samples_want_a_network_with_dropout(members):
    with pytest.raises(UserError, match=r"samples=2: .*no dropout.*--set dropout"):
        probabilities(tiny.CONFIG, members, IMAGE, Views(samples=2))


@pytest.mark.parametrize(("shared", "count"), [(True, 2), (False, 4)])
def test_features_are_computed_once_per_view(monkeypatch, shared, count):
    """Not once per sample, nor once per member of one VGG; members of other VGGs have their own."""
    first = api.init(VGG_CONFIG, jax.random.key(0))
    second = api.init(VGG_CONFIG, jax.random.key(1))
    if shared:
        second["frozen"] = first["frozen"]
    computed, features = [], api.features

    def counting(*arguments, **named):
        computed.append(1)
        return features(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(ensemble.api, "features", counting)
        probabilities(VGG_CONFIG, [first, second], IMAGE, Views(flip=True, samples=2))
    assert len(computed) == count
    found = probabilities(VGG_CONFIG, [first, second], IMAGE)
    terms = [plain(variables, IMAGE, VGG_CONFIG) for variables in (first, second)]
    close(found, np.mean(terms, axis=0))


OTHER = UNetConfig(num_classes=2, padding="same", channels=(2, 3))


def test_networks_of_other_kinds_are_averaged_too(members):
    """A recurrent network and a U-Net, whichever of them is named first."""
    other = random_variables(OTHER)
    terms = [plain(members[0], IMAGE), plain(other, IMAGE, OTHER)]
    assert np.abs(terms[0] - terms[1]).max() > 0.1
    close(probabilities(CONFIG, [members[0], (OTHER, other)], IMAGE), np.mean(terms, axis=0))
    close(probabilities(OTHER, [(CONFIG, members[0]), other], IMAGE), np.mean(terms, axis=0))


def test_groups_are_averaged_by_themselves_and_together(members):
    """Each member counts alike: of two groups the one of two members twice."""
    other = random_variables(OTHER)
    both, images = Views(flip=True, scales=(1.0, 1.5)), np.stack([IMAGE, IMAGE[::-1]])
    found = ensemble.side_by_side(CONFIG, [members, [(OTHER, other)]], images, both)
    assert found.shape == (3, *images.shape[:3], 2)
    close(found[0], probabilities(CONFIG, members, images, both))
    close(found[1], probabilities(OTHER, [other], images, both))
    close(found[2], probabilities(CONFIG, [*members, (OTHER, other)], images, both))
    close(ensemble.side_by_side(CONFIG, [members], images, both), found[:1])


def test_networks_of_other_classes_are_refused(members):
    for changes, message in (
        ({"num_classes": 3}, "a UNetConfig has 3 classes, and this ReSegConfig 2 classes"),
        ({"void_class": True}, "has 2 classes and void, and this ReSegConfig 2 classes:"),
    ):
        config = dataclasses.replace(OTHER, **changes)
        with pytest.raises(UserError, match=message):
            probabilities(CONFIG, [members[0], (config, random_variables(config))], IMAGE)


def test_networks_that_read_the_same_maps_have_them_computed_once(monkeypatch):
    """Two heads over one VGG; a third reads another map of it."""
    wide = dataclasses.replace(VGG_CONFIG, units=(5,))
    deep = dataclasses.replace(VGG_CONFIG, tap="conv1_2")
    first, second, third = (
        api.init(config, jax.random.key(seed))
        for seed, config in enumerate((VGG_CONFIG, wide, deep))
    )
    second["frozen"] = first["frozen"]
    networks = [first, (wide, second), (deep, third)]
    computed, features = [], api.features

    def counting(config, *arguments, **named):
        computed.append(config)
        return features(config, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(ensemble.api, "features", counting)
        found = probabilities(VGG_CONFIG, networks, IMAGE)
    assert computed == [VGG_CONFIG, deep]
    configs = (VGG_CONFIG, wide, deep)
    terms = [
        plain(variables, IMAGE, config)
        for config, variables in zip(configs, (first, second, third), strict=True)
    ]
    close(found, np.mean(terms, axis=0))


def test_members_share_a_vgg_that_is_equal_to_an_earlier_one():
    first, same, other = (api.init(VGG_CONFIG, jax.random.key(seed)) for seed in (0, 0, 1))
    deep = api.init(dataclasses.replace(VGG_CONFIG, tap="conv1_2"), jax.random.key(0))
    unet, again = {"params": {}}, dict(deep, frozen=jax.tree.map(np.array, deep["frozen"]))
    found = ensemble.share_backbone([first, same, other, deep, unet, again])
    assert found[3:5] == [deep, unet]
    assert found[5]["frozen"] is deep["frozen"]
    assert found[1]["frozen"] is found[0]["frozen"] is first["frozen"]
    assert found[1]["params"] is same["params"]
    assert found[2] is other
    without = [{"params": variables["params"]} for variables in (first, same)]
    assert ensemble.share_backbone(without) == without


@pytest.mark.slow
def test_no_program_begins_before_the_one_before_it_ends(monkeypatch, row):
    # Two programs at once, each divided over both devices, can wait for each other for ever.
    given, unfinished = [], []

    def watched(function):
        def call(*arguments):
            unfinished.append(sum(not array.is_ready() for array in given))
            found = function(*arguments)
            given.append(found)
            return found

        return call

    for module, name in ((ensemble, "_softmax"), (views, "_resized")):
        monkeypatch.setattr(module, name, watched(getattr(module, name)))
    image = np.zeros((47, 63, 3), np.uint8)
    with jax.set_mesh(row):
        variables = api.init(CONFIG, jax.random.key(0))
        both = Views(flip=True, scales=(0.75, 1, 1.25))
        probabilities(CONFIG, [variables, variables], image, both)
    # Of six views, four to another size; and two sizes back.
    assert len(given) == 18 and not any(unfinished)


def test_void_stays_among_the_probabilities_and_may_win():
    config = dataclasses.replace(tiny.CONFIG, void_class=True)
    variables = api.init(config, jax.random.key(0))
    found = probabilities(config, [variables], IMAGE, Views(flip=True))
    assert found.shape == (6, 9, 3)
    close(found.sum(axis=-1), np.ones((6, 9)))
    variables["params"]["classifier"]["bias"] = np.float32([0, 0, 99])
    found = probabilities(config, [variables], IMAGE, Views(flip=True))
    assert (np.asarray(labels.likeliest(found, 2)) == VOID).all()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"scales": ()}, r"scales=\(\): give factors above 0"),
        ({"scales": (1.0, 0.0)}, "scales=.*above 0"),
        ({"scales": (float("nan"),)}, "scales=.*above 0"),
        ({"scales": (float("inf"),)}, "scales=.*above 0"),
        ({"samples": -1}, "samples=-1: give a number"),
    ],
)
def test_what_cannot_be_averaged_is_refused(bad, message):
    with pytest.raises(UserError, match=message):
        Views(**bad)


def test_uncertainty_goes_from_certain_to_alike():
    rows = np.float32([[1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0, 0], [0.9, 0.1, 0, 0]])
    last = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1)) / np.log(4)
    close(uncertainty(rows.reshape(2, 2, 4)), [[0, 1], [0.5, last]], 1e-6)


def test_networks_that_disagree_are_uncertain_together():
    certain = np.float32([[1, 0], [0, 1]])
    close(uncertainty(certain), [0, 0])
    close(uncertainty(certain.mean(axis=0)), np.float32(1))


@pytest.mark.slow
def test_members_are_the_newest_checkpoints(tmp_path, caplog):
    """Of whole epochs, of a run that saved every step and kept three, one of them damaged.

    All with one VGG, each with its own head.
    """
    settings = TrainSettings(epochs=3, batch_size=2, keep=3, ema_decay=0.5)
    run = About(tiny.VGG_CONFIG, settings, tiny.CLASSES)
    network = api.build(tiny.VGG_CONFIG)
    variables = network.init(jax.random.key(0))
    optimizer = make_optimizer(run, variables, steps_per_epoch=2)
    train_step = make_train_step(network.logits, optimizer, Loss(l2=settings.l2))
    predict_step = make_predict_step(network.logits, 2)
    state = create_state(variables, optimizer)
    claim(tmp_path, run)
    batches = tiny.Batches(), tiny.Batches(seed=1)
    loop.fit(tmp_path, settings, state, train_step, predict_step, *batches, 2, save_minutes=0)
    assert Checkpoints(tmp_path / "checkpoints").steps() == [2, 4, 5, 6]
    found = load_members(tmp_path, 2)
    assert [run.step for run in found] == [4, 6]
    for run in found:
        alone = load_run(tmp_path, str(run.step))
        for ours, theirs in zip(
            *map(jax.tree.leaves, (run.variables, alone.variables)), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
    assert found[0].variables["frozen"] is found[1].variables["frozen"]
    data = Checkpoints(tmp_path / "checkpoints").directory / "6" / "state" / "d"
    for path in data.iterdir():
        path.write_bytes(b"")
    assert [run.step for run in load_members(tmp_path, 2)] == [2, 4]
    assert "unreadable checkpoint" in caplog.text
    with pytest.raises(UserError, match=r"2 readable checkpoints of whole epochs, not 3: .*keep=3"):
        load_members(tmp_path, 3)
