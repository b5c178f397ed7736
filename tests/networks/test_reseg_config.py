"""The config: a hashable value, the same after JSON, and clear about what it refuses."""

import dataclasses
import json

import pytest

from reseg_jax.config import (
    VGG_LAYERS,
    Classes,
    ReSegConfig,
)
from reseg_jax.errors import UserError
from reseg_jax.files.config_json import differences, from_dict, override, to_dict

CLASSES = Classes(("road", "sky"), ((128, 64, 128), (128, 128, 128)), void=11)
# Every field away from its default.
OTHER = ReSegConfig(
    num_classes=2,
    vgg_layer="conv2_2",
    preprocessing="torchvision",
    finetune_vgg=True,
    cell="lstm",
    patch_sizes=((2, 3),),
    units=(7,),
    order=("horizontal", "vertical"),
    context="pointwise",
    upsample_sizes=((4, 6), (1, 1), (2, 2)),
    upsample_channels=(5, 6, 7),
    contrast="divisive",
    chained=True,
    initialization="normal",
    void_class=True,
    layer_norm=True,
    skips=("conv1_1",),
    refine=True,
    dropout=0.5,
    unroll=True,
    recompute=True,
    implementation="pallas",
    classes=CLASSES,
)


def test_defaults_are_the_papers_camvid_network():
    """Table 4 with the released run's patches, section 4.2."""
    config = ReSegConfig()
    assert config.num_classes == 11
    assert (config.vgg_layer, config.preprocessing, config.finetune_vgg) == (
        "conv3_3", "caffe", False,
    )  # fmt: skip
    assert (config.cell, config.order) == ("gru", ("vertical", "horizontal"))
    assert (config.patch_sizes, config.units) == (((1, 1), (1, 1)), (100, 100))
    assert (config.upsample_sizes, config.upsample_channels) == (((2, 2), (2, 2)), (50, 50))


def test_no_vgg_preset():
    config = ReSegConfig.no_vgg(num_classes=2, units=(3, 4))
    assert (config.vgg_layer, config.preprocessing) == (None, "unit")
    assert config.patch_sizes == ((2, 2), (1, 1))
    assert (config.num_classes, config.units) == (2, (3, 4))


def test_other_differs_in_every_field():
    """Guards the tests below against a field added later."""
    found = {text.split(":")[0] for text in differences(OTHER, ReSegConfig())}
    assert found == {field.name for field in dataclasses.fields(ReSegConfig)}


@pytest.mark.parametrize("config", [ReSegConfig(), ReSegConfig.no_vgg(), OTHER])
def test_same_value_after_json(config):
    again = from_dict(ReSegConfig, json.loads(json.dumps(to_dict(config))))
    assert again == config
    assert hash(again) == hash(config)
    assert again.unroll is config.unroll


def test_unrolling_one_step_is_not_unrolling_all():
    """Although 1 == True: a config is a key of jit's cache, where equal means the same program."""
    assert ReSegConfig(unroll=1) != ReSegConfig(unroll=True)


def test_unknown_field_in_json_is_named():
    with pytest.raises(UserError, match="ReSegConfig has no field colour, size"):
        from_dict(ReSegConfig, {"size": 1, "colour": 2, "units": [3, 4]})


@pytest.mark.parametrize(
    ("config", "stride"),
    [
        (ReSegConfig(), (4, 4)),
        (ReSegConfig(patch_sizes=((2, 2), (1, 1))), (8, 8)),
        (ReSegConfig.no_vgg(), (2, 2)),
        (ReSegConfig.no_vgg(patch_sizes=((2, 3), (1, 4))), (2, 12)),
        (ReSegConfig(vgg_layer="conv5_1"), (16, 16)),
    ],
)
def test_stride_by_hand(config, stride):
    assert config.stride == stride


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("cell=lstm", "cell", "lstm"),
        ("units=[32, 16]", "units", (32, 16)),
        ("patch_sizes=[[2, 3], [1, 1]]", "patch_sizes", ((2, 3), (1, 1))),
        ('order=["horizontal", "vertical"]', "order", ("horizontal", "vertical")),
        ("vgg_layer=None", "vgg_layer", None),
        ("vgg_layer=null", "vgg_layer", None),
        ("finetune_vgg=true", "finetune_vgg", True),
        ("finetune_vgg=True", "finetune_vgg", True),
        ("unroll=4", "unroll", 4),
        ("unroll=true", "unroll", True),
        ("num_classes=3", "num_classes", 3),
    ],
)
def test_override(text, field, value):
    config = override(ReSegConfig(), [text])
    assert config == dataclasses.replace(ReSegConfig(), **{field: value})
    assert type(getattr(config, field)) is type(value)
    hash(config)


def test_overrides_apply_together():
    """Fields that only fit one another are checked after the last."""
    texts = ["units=[8]", "patch_sizes=[[2, 2]]", "upsample_sizes=[[2, 2]]"]
    config = override(ReSegConfig(), [*texts, "upsample_channels=[9]"])
    assert (config.units, config.upsample_channels) == ((8,), (9,))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cell", "field=value"),
        ("colour=red", "the fields are num_classes, "),
        ("num_classes=many", "num_classes must be int"),
        ("num_classes=2.5", "num_classes must be int"),
        ("num_classes=true", "num_classes must be int"),
        ("units=100", "units must be tuple"),
        ("finetune_vgg=1", "finetune_vgg must be bool"),
        ("cell=transformer", "known are: gru, lstm, rnn"),
        ("order=sideways", "order must be tuple"),
        ("units=[1.5, 2]", "units"),
        ("units=[32, [16]]", "units"),
        ("patch_sizes=[2, 2]", "patch_sizes"),
        ('upsample_channels=["a", "b"]', "upsample_channels"),
    ],
)
def test_override_refuses(text, words):
    with pytest.raises(UserError) as error:
        override(ReSegConfig(), [text])
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cell": "transformer"}, "known are: gru, lstm, rnn"),
        ({"vgg_layer": "pool3"}, ", ".join(["None", *VGG_LAYERS])),
        ({"preprocessing": "none"}, "caffe, torchvision, unit"),
        ({"context": "attention"}, "renet, pointwise"),
        ({"order": ("vertical", "vertical")}, "known are"),
        ({"units": (100,)}, "patch_sizes has 2 layers and units 1"),
        ({"units": (), "patch_sizes": ()}, "at least one layer"),
        ({"upsample_channels": (1, 2, 3)}, "upsample_sizes has 2 layers"),
        ({"patch_sizes": ((2, 0), (1, 1))}, "at least 1"),
        ({"patch_sizes": ((2,), (1,))}, "(height, width) pairs"),
        ({"units": (100, 0)}, "at least 1"),
        ({"num_classes": 1}, "at least 2 classes"),
        ({"unroll": 0}, "from 1, or True"),
        ({"unroll": False}, "from 1, or True"),
        ({"vgg_layer": None, "finetune_vgg": True}, "needs a VGG"),
        ({"classes": CLASSES}, "num_classes=11 but 2 class names"),
    ],
)
def test_impossible_networks_are_refused(changes, words):
    with pytest.raises(UserError) as error:
        ReSegConfig(**changes)
    assert words in str(error.value)


def test_classes_need_a_colour_each():
    with pytest.raises(UserError, match="2 class names but 1 colours"):
        Classes(("road", "sky"), ((0, 0, 0),))


def test_differences_name_what_differs():
    found = differences(ReSegConfig(), ReSegConfig(cell="lstm", num_classes=3))
    assert found == ["num_classes: 11 here, 3 there", "cell: 'gru' here, 'lstm' there"]
    assert differences(ReSegConfig(), ReSegConfig()) == []
