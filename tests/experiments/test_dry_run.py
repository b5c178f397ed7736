"""What a dry run tells: numbers by hand, and that there is nothing it cannot describe."""

import dataclasses
import re

import jax
import numpy as np
import pytest

from experiments import dry_run
from experiments.dry_run import Images, describe, look
from experiments.presets import PRESETS, build
from reseg_jax import UserError, api, devices
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.step import create_state
from tests.support.tiny import CONFIG, VGG_CONFIG

SMALL = Images((24, 32), 11, 3, "here")
SETTINGS = TrainSettings(batch_size=2)


@pytest.fixture
def uncompiled(monkeypatch):
    """Most of a dry run's time is the compiler's."""
    monkeypatch.setattr(dry_run, "_memory", lambda *_: "not looked at")


def line(text, name):
    (found,) = [line for line in text.splitlines() if re.match(rf" *{name} ", line)]
    return found


def tell(name, text, images=None, **changes):
    config, settings = build(name, changes)
    return line(describe(config, settings, images or look(settings), cached=True), text)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_described_without_its_data(name, uncompiled):
    config, settings = build(name, {})
    images = dry_run.NOMINAL.get(settings.dataset, SMALL)
    cached = config.vgg_layer is not None
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an integer
        text = describe(config, settings, images, cached)
    for field in (*dataclasses.fields(config), *dataclasses.fields(settings)):
        assert line(text, field.name)
    told = re.findall(r"([\d,.]+) (?:GFLOP|features|above)", text)
    forward, features, above, update = (float(number.replace(",", "")) for number in told)
    assert forward == pytest.approx(features + above, abs=0.002)
    assert (features > 0) == cached
    assert update > 2 * settings.batch_size * above > 0
    assert ("disk" in text) == cached


def test_camvid_s_numbers(uncompiled):
    """Counted by hand from the shapes of the paper's network; 11 classes."""
    config, settings = build("camvid", {})
    text = describe(config, settings, look(settings), cached=True)
    assert "367 images to train on, 101 to validate, 360x480" in line(text, "data")
    trained = 394_800 + 361_200 + 40_050 + 10_050 + 50 * 11 + 11
    assert line(text, "parameters").split()[1:] == [
        f"{trained:,}",
        "trained,",
        "1,735,488",
        "frozen",
    ]
    assert "82.494 GFLOP an image forwards: 64.298 features, 18.196 above" in line(text, "work")
    # Three times the head, less the gradient that the features would have in both directions,
    # and in four sublayers the candidates' recurrent products once more.
    spared, again = (2 * 2 * 10_800 * size / 1e9 for size in (256 * 300, 4 * 100 * 100))
    update = 5 * (3 * 18.196 - spared + again)
    told = float(re.search(r"([\d.]+) GFLOP an update", text)[1])
    assert told == pytest.approx(update, abs=0.01)
    assert "74 updates of 5 images; at most 150 epochs" in line(text, "epoch")
    size = 90 * 120 * 256 * 2
    assert f"{468 * size / 2**20:,.1f} MiB of features: 468 images of 5.3 MiB" in line(text, "disk")


def test_what_changes_the_steps_and_the_disk(uncompiled):
    assert " 73 updates" in tell("camvid", "epoch", drop_last=True)
    assert "at least 74 updates" in tell("camvid", "epoch", buckets=4)
    both = tell("camvid", "disk", flip=True, cache_dtype="float32")
    size = f"{835 * 90 * 120 * 256 * 4 / 2**20:,.1f} MiB"
    assert f"{size} of features: 835 images, 2 for each" in both
    assert "1936 images, 5 for each" in tell("camvid", "disk", colour=0.2, versions=5)
    skips = tell("camvid_patch2", "disk", SMALL, skips=("conv3_3", "conv2_2"))
    assert f"{14 * (6 * 8 * 256 + 12 * 16 * 128) * 2 / 2**20:.1f} MiB" in skips


def test_a_cropped_training_does_a_quarter_of_the_work(uncompiled):
    """Half of 90 x 120 cells each way; the disk holds the whole maps."""
    told = [
        float(re.search(r"([\d.]+) GFLOP an update", tell("camvid", "  ", crop=crop))[1])
        for crop in (1.0, 0.5)
    ]
    assert told[1] == pytest.approx(told[0] / 4, rel=1e-4)
    assert tell("camvid", "disk", crop=0.5) == tell("camvid", "disk")


def test_defaults_stand_behind_what_is_other(uncompiled):
    config, settings = dataclasses.replace(CONFIG, cell="lstm"), TrainSettings(optimizer="sgd")
    text = describe(config, settings, SMALL, cached=False)
    assert line(text, "cell").split() == ["cell", "lstm", "[gru]"]
    assert line(text, "optimizer").split() == ["optimizer", "sgd", "[adadelta]"]
    assert line(text, "order").split("  ")[-1].strip() == "('vertical', 'horizontal')"
    assert line(text, "classes").split(maxsplit=1)[1] == "left, right"


@pytest.mark.parametrize("config", [CONFIG, VGG_CONFIG])
def test_memory_is_the_compilers(config):
    text = describe(config, SETTINGS, SMALL, cached=config.vgg_layer is not None)
    computing, arguments = map(float, re.findall(r"([\d.]+) MiB", line(text, "memory")))
    state = create_state(api.init(config, jax.random.key(0)), SETTINGS.make_optimizer(config, 1))
    pixels = 2 * 24 * 32
    inputs = 64 * 2 if config.vgg_layer else 3  # float16 channels, bytes of a colour
    expected = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + pixels * (inputs + 1)
    assert arguments == pytest.approx(expected / 2**20, abs=0.06)
    # At least the logits and what the softmax makes of them.
    assert computing > 2 * 2 * pixels * 4 / 2**20


def test_the_work_is_divided_over_devices(row, uncompiled):
    config = dataclasses.replace(CONFIG, dropout=0.5, void_class=True)
    alone = describe(config, SETTINGS, SMALL, cached=False)
    with jax.set_mesh(row):
        assert describe(config, SETTINGS, SMALL, cached=False) == alone


def test_state_is_taken_to_be_where_training_has_it(row):
    real = {"a": np.ones((2, 3), np.float32)}
    shapes = jax.eval_shape(lambda: real)
    assert dry_run._everywhere(shapes) == shapes
    with jax.set_mesh(row):
        found, expected = dry_run._everywhere(shapes)["a"], devices.everywhere(real)["a"]
        assert found.sharding.is_equivalent_to(expected.sharding, 2)


def test_images_are_those_of_the_folder_or_the_published_ones(tmp_path):
    assert look(TrainSettings(dataset="camvid"))[:3] == ((360, 480), 367, 101)
    assert look(TrainSettings(dataset="toy"))[1:] == (400, 80, "as loaded")
    with pytest.raises(UserError, match="CamVid"):
        look(TrainSettings(dataset="camvid", data_dir=str(tmp_path)))
