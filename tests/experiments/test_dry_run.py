"""What a dry run reports: numbers by hand, and that there is nothing it cannot describe."""

import dataclasses
import re

import jax
import numpy as np
import pytest

from experiments import dry_run
from experiments.dry_run import Images, describe, image_sizes
from experiments.presets import PRESETS, build
from reseg_jax import ReSegConfig, UserError, api, devices
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.files import config_json
from reseg_jax.labels import Classes
from reseg_jax.networks.unet import UNetConfig
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.step import create_state
from reseg_jax.training.trained import make_optimizer
from reseg_jax.training.workdir import About

SMALL = Images((24, 32), 11, 3, "here")
SETTINGS = TrainSettings(batch_size=2)
TWO = Classes(("left", "right"), ((255, 0, 0), (0, 0, 255)), void=9)
_NARROW = {
    "num_classes": 2,
    "patch_sizes": ((2, 2),),
    "units": (3,),
    "upsample_sizes": ((2, 2),),
    "upsample_channels": (4,),
}
CONFIG = ReSegConfig.no_vgg(**_NARROW)
# The smallest network with a frozen part: one convolution below one small layer.
VGG_CONFIG = ReSegConfig(
    backbone=VGG16(channels=(8, 8, 8, 8, 8)), tap="conv1_1", preprocessing="torchvision", **_NARROW
)


@pytest.fixture
def uncompiled(monkeypatch):
    """Most of a dry run's time is the compiler's."""
    monkeypatch.setattr(dry_run, "_memory", lambda *_: "not looked at")


def line(text, name):
    (found,) = [line for line in text.splitlines() if re.match(rf" *{name} ", line)]
    return found


def about(config, settings):
    """A run with as many classes as the network has."""
    if config.num_classes == 2:
        return About(config, settings, TWO)
    names = tuple(f"class{index}" for index in range(config.num_classes))
    return About(config, settings, Classes(names, ((0, 0, 0),) * len(names), void=255))


def reported(name, text, images=None, **changes):
    """One line of a preset's description."""
    run = about(*build(PRESETS[name], changes))
    return line(describe(run, images or image_sizes(run.settings)), text)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_described_without_its_data(name, uncompiled):
    config, settings = build(PRESETS[name], {})
    images = dry_run.NOMINAL.get(settings.dataset, SMALL)
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an integer
        text = describe(about(config, settings), images)
    for field in (*config_json.flat(config), *config_json.flat(settings)):
        assert line(text, re.escape(field))
    found = re.findall(r"([\d,.]+) (?:GFLOP|features|above)", text)
    forward, features, above, update = (float(number.replace(",", "")) for number in found)
    assert forward == pytest.approx(features + above, abs=0.002)
    assert (features > 0) == (config.backbone is not None)
    assert update > 2 * settings.batch_size * above > 0
    assert ("disk" in text) == config.frozen


def test_camvid_s_numbers(uncompiled):
    """Counted by hand from the shapes of the paper's network; 11 classes."""
    config, settings = build(PRESETS["camvid"], {})
    text = describe(about(config, settings), image_sizes(settings))
    assert "367 images to train on, 101 to validate, 360x480" in line(text, "data")
    trained = 394_800 + 361_200 + 40_050 + 10_050 + 50 * 11 + 11
    assert line(text, "parameters").split()[1:] == [
        f"{trained:,}",
        "trained,",
        "1,735,488",
        "frozen",
    ]
    assert "82.494 GFLOP per image forwards: 64.298 features, 18.196 above" in line(text, "work")
    # Three times the head, less the gradient that the features would have in both directions,
    # and in four sublayers the candidates' recurrent products once more.
    spared, again = (2 * 2 * 10_800 * size / 1e9 for size in (256 * 300, 4 * 100 * 100))
    update = 5 * (3 * 18.196 - spared + again)
    found = float(re.search(r"([\d.]+) GFLOP per update", text)[1])
    assert found == pytest.approx(update, abs=0.01)
    assert "74 updates of 5 images; at most 150 epochs" in line(text, "epoch")
    size = 90 * 120 * 256 * 2
    assert f"{468 * size / 2**20:,.1f} MiB of features: 468 images of 5.3 MiB" in line(text, "disk")


def test_u_net_s_numbers(uncompiled):
    """By hand for two levels of 2 and 3 channels and images of 24 x 32 that need no padding.

    Parameters: 3x3 kernels and biases of 3 -> 2 -> 2, 2 -> 3 -> 3, (2 + 2) -> 2 -> 2; the 2x2
    upsampling 3 -> 2; the classifier 2 -> 2. Multiplications per pixel: those kernels' sizes, a
    quarter of them at the bottom; a pixel of the upsampling reads 3 inputs.
    """
    run = about(UNetConfig(num_classes=2, channels=(2, 3), padding="same"), SETTINGS)
    text = describe(run, SMALL)
    kernels = {"top": 9 * (3 * 2 + 2 * 2 + 4 * 2 + 2 * 2), "bottom": 9 * (2 * 3 + 3 * 3)}
    trained = sum(kernels.values()) + 4 * 3 * 2 + 2 * 2 + (2 + 2 + 3 + 3 + 2 + 2 + 2 + 2)
    assert line(text, "parameters").split()[1:4] == [str(trained), "trained,", "0"]
    per_pixel = kernels["top"] + kernels["bottom"] / 4 + 3 * 2 + 2 * 2
    gflop = float(re.search(r"([\d.]+) GFLOP per image", text)[1])
    assert gflop == pytest.approx(2 * 24 * 32 * per_pixel / 1e9, abs=5e-4)


def test_what_changes_the_steps_and_the_disk(uncompiled):
    assert " 73 updates" in reported("camvid", "epoch", drop_last=True)
    assert "at least 74 updates" in reported("camvid", "epoch", buckets=4)
    both = reported("camvid", "disk", flip=True, cache_dtype="float32")
    size = f"{835 * 90 * 120 * 256 * 4 / 2**20:,.1f} MiB"
    assert f"{size} of features: 835 images, 2 for each" in both
    assert "1936 images, 5 for each" in reported(
        "camvid", "disk", color=0.2, num_augmented_copies=5
    )
    skips = reported("camvid_patch2", "disk", SMALL, skips=("conv3_3", "conv2_2"))
    assert f"{14 * (6 * 8 * 256 + 12 * 16 * 128) * 2 / 2**20:.1f} MiB" in skips


def test_a_cropped_training_does_a_quarter_of_the_work(uncompiled):
    """Half of 90 x 120 cells each way; the disk holds the whole maps."""
    found = [
        float(re.search(r"([\d.]+) GFLOP per update", reported("camvid", "  ", crop=crop))[1])
        for crop in (1.0, 0.5)
    ]
    assert found[1] == pytest.approx(found[0] / 4, rel=1e-4)
    assert reported("camvid", "disk", crop=0.5) == reported("camvid", "disk")


def test_defaults_stand_after_what_is_other(uncompiled):
    config, settings = dataclasses.replace(CONFIG, cell="lstm"), TrainSettings(optimizer="sgd")
    text = describe(about(config, settings), SMALL)
    assert line(text, "cell").split() == ["cell", "lstm", "[gru]"]
    assert line(text, "optimizer").split() == ["optimizer", "sgd", "[adadelta]"]
    assert line(text, "order").split("  ")[-1].strip() == "('vertical', 'horizontal')"
    assert text.splitlines()[0] == "network ReSegConfig, classes left, right"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "border_weight"), [(CONFIG, 0.0), (VGG_CONFIG, 0.0), (CONFIG, 10.0)]
)
def test_memory_is_the_compilers(config, border_weight):
    run = about(config, dataclasses.replace(SETTINGS, border_weight=border_weight))
    text = describe(run, SMALL)
    computing, arguments = map(float, re.findall(r"([\d.]+) MiB", line(text, "memory")))
    variables = api.init(config, jax.random.key(0))
    state = create_state(variables, make_optimizer(run, variables, 1))
    pixels = 2 * 24 * 32
    inputs = 8 * 2 if config.backbone else 3  # float16 channels, bytes of a color
    inputs += 4 if border_weight else 0  # a float per pixel
    expected = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) + pixels * (inputs + 1)
    assert arguments == pytest.approx(expected / 2**20, abs=0.06)
    # At least the logits and what the softmax makes of them.
    assert computing > 2 * 2 * pixels * 4 / 2**20


@pytest.mark.slow
def test_a_part_of_a_batch_takes_a_part_of_the_memory():
    """Four images by one: a quarter of what is computed between, and the gradients' sums."""
    found = {}
    for parts in (1, 4):
        settings = dataclasses.replace(SETTINGS, batch_size=4, accumulate=parts)
        memory = line(
            describe(about(CONFIG, settings), Images((120, 160), 11, 3, "here")), "memory"
        )
        assert ("in 4 parts" in memory) == (parts == 4)
        found[parts] = float(re.search(r"([\d.]+) MiB to compute", memory)[1])
    assert found[4] < 0.4 * found[1]


def test_the_work_is_divided_over_devices(row, uncompiled):
    config = dataclasses.replace(CONFIG, dropout=0.5, void_class=True)
    on_one_device = describe(about(config, SETTINGS), SMALL)
    with jax.set_mesh(row):
        assert describe(about(config, SETTINGS), SMALL) == on_one_device


def test_state_is_taken_to_be_where_training_has_it(row):
    real = {"a": np.ones((2, 3), np.float32)}
    shapes = jax.eval_shape(lambda: real)
    assert dry_run._everywhere(shapes) == shapes
    with jax.set_mesh(row):
        found, expected = dry_run._everywhere(shapes)["a"], devices.everywhere(real)["a"]
        assert found.sharding.is_equivalent_to(expected.sharding, 2)


def test_images_are_those_of_the_folder_or_the_published_ones(tmp_path):
    assert image_sizes(TrainSettings(dataset="camvid"))[:3] == ((360, 480), 367, 101)
    assert image_sizes(TrainSettings(dataset="toy"))[1:] == (400, 80, "as loaded")
    with pytest.raises(UserError, match="CamVid"):
        image_sizes(TrainSettings(dataset="camvid", data_dir=str(tmp_path)))
