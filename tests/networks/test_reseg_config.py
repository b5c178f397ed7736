"""ReSeg's config: a hashable value, the same after JSON, and clear about what it refuses."""

import dataclasses
import json

import pytest

from experiments.presets import PRESETS
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.backbones.vgg_layers import TAPS
from reseg_jax.errors import UserError
from reseg_jax.files.config_json import differences, field_names, override
from reseg_jax.labels import Classes
from reseg_jax.networks.reseg import ReSegConfig
from reseg_jax.recurrent.execution import Execution
from reseg_jax.saving import config_from_dict, config_to_dict

# Every field away from its default.
OTHER = ReSegConfig(
    num_classes=2,
    void_class=True,
    backbone=VGG16(
        trainable=True,
        batch_norm=True,
        channels=(2, 3, 4, 5, 6),
        fc_channels=7,
        output_stride=16,
        pool_size=3,
        padding="VALID",
        fc_padding="VALID",
        border=1,
        dropout=0.25,
        dropout_blocks=(3,),
    ),
    tap="conv2_2",
    preprocessing="torchvision",
    contrast="divisive",
    cell="lstm",
    patch_sizes=((2, 3),),
    units=(7,),
    order=("horizontal", "vertical"),
    chained=True,
    initialization="normal",
    context="pointwise",
    upsample_sizes=((4, 6), (1, 1), (2, 2)),
    upsample_channels=(5, 6, 7),
    layer_norm=True,
    skips=("conv1_1",),
    refine=True,
    dropout=0.5,
    dtype="bfloat16",
    execution=Execution(unroll="all", remat=True, implementation="pallas"),
)


def test_defaults_are_the_papers_camvid_network():
    """Table 4 with the released run's patches, section 4.2."""
    config = ReSegConfig()
    assert config.num_classes == 11
    assert (config.tap, config.preprocessing, config.frozen) == ("conv3_3", "caffe", True)
    assert (config.cell, config.order) == ("gru", ("vertical", "horizontal"))
    assert (config.patch_sizes, config.units) == (((1, 1), (1, 1)), (100, 100))
    assert (config.upsample_sizes, config.upsample_channels) == (((2, 2), (2, 2)), (50, 50))


def test_no_vgg_preset():
    config = ReSegConfig.no_vgg(num_classes=2, units=(3, 4))
    assert (config.backbone, config.preprocessing) == (None, "unit")
    assert config.taps == ("pixels",)
    assert config.patch_sizes == ((2, 2), (1, 1))
    assert (config.num_classes, config.units) == (2, (3, 4))


def test_other_differs_in_every_field():
    """Guards the tests below against a field added later."""
    nested = {"backbone", "execution"}  # their fields are in the list by themselves
    assert set(differences(OTHER, ReSegConfig())) == {*field_names(ReSegConfig)} - nested


@pytest.mark.parametrize("config", [ReSegConfig(), ReSegConfig.no_vgg(), OTHER])
def test_same_value_after_json(config):
    again = config_from_dict(json.loads(json.dumps(config_to_dict(config))))
    assert again == config
    assert hash(again) == hash(config)
    assert type(again.execution.unroll) is type(config.execution.unroll)


def test_unrolling_one_step_is_not_unrolling_all():
    """Although 1 == True: a config is a key of jit's cache, where equal means the same program."""
    one, every = Execution(unroll=1), Execution(unroll=True)
    assert one != every == Execution(unroll="all")
    assert ReSegConfig(execution=one) != ReSegConfig(execution=every)


# --- what follows from the fields ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "stride", "cell_size", "output_stride"),
    [
        (ReSegConfig(), 4, (4, 4), (1, 1)),
        (ReSegConfig(patch_sizes=((2, 2), (1, 1))), 4, (8, 8), (2, 2)),
        (ReSegConfig.no_vgg(), 1, (2, 2), (0.5, 0.5)),
        (ReSegConfig.no_vgg(patch_sizes=((2, 3), (1, 4))), 1, (2, 12), (0.5, 3)),
        (ReSegConfig(tap="conv5_1"), 16, (16, 16), (4, 4)),
        (ReSegConfig(tap="pool3"), 8, (8, 8), (2, 2)),
    ],
)
def test_strides_by_hand(config, stride, cell_size, output_stride):
    """An image is padded to the backbone's stride; patches pad what they do not divide."""
    assert (config.stride, config.cell_size) == (stride, cell_size)
    assert config.output_stride == output_stride


@pytest.mark.parametrize(
    ("changes", "strides"),
    [
        ({}, (2, 1)),
        ({"patch_sizes": ((2, 2), (1, 1))}, (4, 2)),
        ({"upsample_sizes": ((1, 2), (2, 1))}, (None, 2)),  # 4x2 pixels are no square
        ({"upsample_sizes": ((4, 4), (2, 2))}, (1, None)),  # half a pixel
        ({"patch_sizes": ((3, 3), (1, 1)), "upsample_sizes": ((2, 2), (4, 4))}, (6, None)),  # 1.5
    ],
)
def test_upsample_strides_by_hand(changes, strides):
    assert ReSegConfig(**changes).upsample_strides == strides


def test_padding_can_be_exact_unless_something_sees_the_arrays_end():
    assert ReSegConfig().exact_padding
    assert not ReSegConfig(contrast="divisive").exact_padding
    assert not ReSegConfig(patch_sizes=((2, 2), (1, 1))).exact_padding  # interpolates the rest
    odd = ReSegConfig(patch_sizes=((3, 3), (1, 1)), upsample_sizes=((2, 2), (4, 4)))
    assert odd.output_stride == (1.5, 1.5)
    assert not odd.exact_padding


def test_taps_are_read_once_each():
    skips = ("conv3_3", "conv2_2")
    assert PRESETS["camvid_modern"].config.taps == skips
    assert ReSegConfig(skips=("conv2_2",)).taps == skips


# --- texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("units=[32, 16]", ReSegConfig(units=(32, 16))),
        ("backbone.trainable=true", ReSegConfig(backbone=VGG16(trainable=True))),
        ("backbone=None", ReSegConfig(backbone=None)),
        ("tap=conv2_2", ReSegConfig(tap="conv2_2")),
        ("execution.unroll=4", ReSegConfig(execution=Execution(unroll=4))),
        ("execution.unroll=all", ReSegConfig(execution=Execution(unroll="all"))),
        ("execution.remat=true", ReSegConfig(execution=Execution(remat=True))),
    ],
)
def test_override(text, expected):
    found = override(ReSegConfig(), [text])
    assert found == expected
    assert hash(found) == hash(expected)


def test_overrides_apply_together():
    """Fields that only fit one another are checked after the last."""
    texts = ["units=[8]", "patch_sizes=[[2, 2]]", "upsample_sizes=[[2, 2]]"]
    config = override(ReSegConfig(), [*texts, "upsample_channels=[9]"])
    assert (config.units, config.upsample_channels) == ((8,), (9,))


# --- what cannot be ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cell": "transformer"}, "known are: gru, lstm, rnn"),
        ({"tap": "conv6_1"}, ", ".join(TAPS)),
        ({"preprocessing": "none"}, "caffe, torchvision, unit"),
        ({"contrast": "local"}, "known are: none, "),
        ({"context": "attention"}, "renet, pointwise"),
        ({"order": ("vertical", "vertical")}, "known are"),
        ({"units": (100,)}, "patch_sizes has 2 layers and units 1"),
        ({"units": (), "patch_sizes": ()}, "at least one layer"),
        ({"upsample_channels": (1, 2, 3)}, "upsample_sizes has 2 layers"),
        ({"patch_sizes": ((2, 0), (1, 1))}, "at least 1"),
        ({"patch_sizes": ((2,), (1,))}, "(height, width) pairs"),
        ({"units": (100, 0)}, "at least 1"),
        ({"num_classes": 1}, "at least 2 classes"),
        ({"dropout": 1.0}, "dropout=1.0: give a share"),
        ({"cell": "mingru", "initialization": "normal"}, "mingru has none"),
        ({"refine": True}, "refine=True needs skips, and there are none"),
        ({"skips": ("conv4_1",)}, "'conv4_1' is not computed on the way to tap=conv3_3"),
        ({"backbone": None, "skips": ("conv1_1",)}, "known are: none"),
        (
            {"skips": ("conv2_2",), "upsample_sizes": ((4, 4), (1, 1))},
            "conv2_2 has stride 2, but the upsampling passes through 1, 1 only",
        ),
    ],
)
def test_impossible_networks_are_refused(changes, words):
    with pytest.raises(UserError) as error:
        ReSegConfig(**changes)
    assert words in str(error.value)


@pytest.mark.parametrize("unroll", [0, -1, False, "some"])
def test_impossible_unrolling_is_refused(unroll):
    with pytest.raises(UserError, match='from 1, or "all"'):
        Execution(unroll=unroll)


def test_an_unknown_implementation_is_refused():
    with pytest.raises(UserError, match="implementation='cuda' is unknown"):
        Execution(implementation="cuda")


def test_classes_need_a_color_each():
    with pytest.raises(UserError, match="2 class names but 1 colors"):
        Classes(("road", "sky"), ((0, 0, 0),))


def test_dataclasses_replace_checks_again():
    with pytest.raises(UserError, match="at least 2 classes"):
        dataclasses.replace(OTHER, num_classes=0)
