"""ResNet: blocks in plain loops, maps and their sizes, dilation, and what a network reads of it."""

import dataclasses
import functools
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.backbones.resnet import STEMS, TAPS, Bottleneck, ResNet
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import UserError
from reseg_jax.files import config_json
from reseg_jax.networks.base import NetworkConfig
from tests.support import reference_layers
from tests.support.reference import assert_close

SMALL = ResNet(depth=14, width=2)


def random_variables(module, x, **arguments):
    """Variables in which nothing is 0 and no variance is 1."""
    rng = np.random.default_rng(0)
    init = functools.partial(module.init, **arguments)

    def value(path, leaf):
        if path[-1].key in ("var", "scale"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        deviation = np.prod(leaf.shape[:-1]) ** -0.5 if len(leaf.shape) > 1 else 0.3
        return rng.normal(0, deviation, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(value, jax.eval_shape(init, jax.random.key(0), x))


def random_images(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


# --- the loops ------------------------------------------------------------------------------------


def normalized(x, variables, *path, stride=1, dilation=1):
    """Convolution and normalization by running statistics."""
    params, stats = (
        functools.reduce(lambda tree, name: tree[name], path, variables[collection])
        for collection in ("params", "batch_stats")
    )
    x = reference_layers.convolution(x, params["conv"]["kernel"], "SAME", dilation, stride)
    norm, stats = params["norm"], stats["norm"]
    statistics = np.float64(stats["mean"]), np.float64(stats["var"])
    return reference_layers.batch_norm(x, norm["scale"], norm["bias"], *statistics)[0]


def block_by_loops(x, variables, *path, stride=1, dilation=1):
    params = functools.reduce(lambda tree, name: tree[name], path, variables["params"])
    y = np.maximum(normalized(x, variables, *path, "first"), 0)
    y = normalized(y, variables, *path, "second", stride=stride, dilation=dilation)
    y = normalized(np.maximum(y, 0), variables, *path, "third")
    if "shortcut" in params:
        x = normalized(x, variables, *path, "shortcut", stride=stride)
    return np.maximum(x + y, 0)


@pytest.mark.parametrize(
    ("inputs", "stride", "dilation"), [(8, 1, 1), (3, 1, 1), (8, 2, 1), (8, 1, 2), (4, 1, 4)]
)
def test_a_block_equals_the_loops(inputs, stride, dilation):
    x = random_images(2, 5, 6, inputs)
    block = Bottleneck(2, stride, dilation)
    variables = random_variables(block, x, train=False)
    assert ("shortcut" in variables["params"]) == (inputs != 8 or stride > 1)
    expected = block_by_loops(x, variables, stride=stride, dilation=dilation)
    assert_close(block.apply(variables, x, train=False), expected, 1e-5)


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("size", [(33, 41), (18, 7)])
def test_every_map_equals_the_loops(stem, size):
    """Sizes that the stride does not divide, too."""
    module = dataclasses.replace(SMALL, stem=stem).module(TAPS)
    pixels = random_images(2, *size, 3)
    variables = random_variables(module, pixels)
    x = pixels
    for name in STEMS[stem]:
        stride = 2 if name == next(iter(STEMS[stem])) else 1
        x = np.maximum(normalized(x, variables, name, stride=stride), 0)
    x = reference_layers.max_pool_centered(x, 3, 2)
    found = module.apply(variables, pixels)
    assert tuple(found) == TAPS
    for number, name in enumerate(TAPS):
        x = block_by_loops(x, variables, f"{name}_1", stride=1 if number == 0 else 2)
        channels, stride = SMALL.tap(name)
        assert found[name].shape == (2, *(-(-side // stride) for side in size), channels)
        assert_close(found[name], x, 1e-5)


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilation_keeps_the_cells_and_adds_others(output_stride):
    """Every cell of the network with all its strides is one of the dilated one's."""
    config = dataclasses.replace(SMALL, depth=50)
    pixels = random_images(1, 70, 65, 3)
    variables = random_variables(config.module(TAPS), pixels)
    expected = jax.jit(config.module(TAPS).apply)(variables, pixels)
    dilated = dataclasses.replace(config, output_stride=output_stride)
    found = jax.jit(dilated.module(TAPS).apply)(variables, pixels)
    for name in TAPS:
        step = config.tap(name).stride // dilated.tap(name).stride
        assert step == max(1, 2 ** (TAPS.index(name) + 2) // output_stride)
        assert_close(found[name][:, ::step, ::step], expected[name], 1e-4)


def test_maps_do_not_depend_on_which_are_asked_for():
    pixels = random_images(1, 16, 16, 3)
    variables = random_variables(SMALL.module(TAPS), pixels)
    every = SMALL.module(TAPS).apply(variables, pixels)
    found = SMALL.module(("stage3", "stage2")).apply(variables, pixels)
    assert tuple(found) == ("stage3", "stage2")
    for name, value in found.items():
        np.testing.assert_array_equal(value, every[name])


def parameter_count(config):
    pixels = np.zeros((1, 32, 32, 3), np.float32)
    tree = jax.eval_shape(config.module(("stage5",)).init, jax.random.key(0), pixels)
    return sum(leaf.size for leaf in jax.tree.leaves(tree["params"]))


def test_the_known_numbers_of_parameters():
    """Published with torchvision's weights, of which the last layer's are left out."""
    classifier = (2048 + 1) * 1000
    assert parameter_count(ResNet(depth=50)) == 25_557_032 - classifier
    assert parameter_count(ResNet(depth=101)) == 44_549_160 - classifier


def test_taps_and_layers_of_the_paper():
    config = ResNet(depth=101)
    assert [tuple(config.tap(name)) for name in TAPS] == [
        *((256, 4), (512, 8), (1024, 16), (2048, 32)),
    ]
    fine = dataclasses.replace(config, output_stride=8)
    assert [fine.tap(name).stride for name in TAPS] == [4, 8, 8, 8]
    assert config.layers(("stage2",)) == ("stem", "stage2_1", "stage2_2", "stage2_3")
    assert len(config.layers(("stage5", "stage2"))) == 1 + 3 + 4 + 23 + 3
    assert ResNet(stem="deep").layers(()) == ("stem_1", "stem_2", "stem_3")


def test_layers_name_the_parameters():
    for taps in (("stage3",), TAPS):
        module = ResNet(depth=14, width=1, stem="deep").module(taps)
        tree = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 9, 9, 3)))
        assert set(tree["params"]) == set(module.config.layers(taps))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"depth": 34}, "depth=34 is unknown; known are: 14, 50, 101"),
        ({"output_stride": 4}, "output_stride=4 is unknown"),
        ({"stem": "3x3"}, "stem='3x3' is unknown"),
        ({"width": 0}, "width=0: give at least 1"),
    ],
)
def test_what_it_cannot_be(change, words):
    with pytest.raises(UserError, match=words):
        ResNet(**change)


def test_what_it_cannot_give():
    with pytest.raises(UserError, match="tap='conv3_3' is unknown; known are: stage2"):
        ResNet().tap("conv3_3")
    pixels = random_images(1, 8, 8, 3)
    with pytest.raises(UserError, match="leave out valid_size"):
        SMALL.module(TAPS).init(jax.random.key(0), pixels, valid_size=jnp.array([4, 4]))


# --- below a network ------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(NetworkConfig):
    """A network of one map."""

    backbone: VGG16 | ResNet | None = SMALL
    preprocessing: str = "torchvision"
    taps: tuple[str, ...] = ("stage3",)

    @property
    def output_stride(self):
        stride = self.tap_stride(self.taps[0])
        return (float(stride), float(stride))


class Network(nn.Module):
    """Tells of each cell on which pixel it lies: i s + 1000 j s."""

    config: Config

    @nn.compact
    def __call__(self, maps, *, train=False, weight=None, valid_size=None):
        del train, weight, valid_size
        (tap,) = self.config.taps
        bias = self.param("bias", nn.initializers.zeros, (1,))
        rows, columns = (jnp.arange(side, dtype=jnp.float32) for side in maps[tap].shape[1:3])
        place = rows[:, None] + 1000 * columns[None]
        return (self.config.output_stride[0] * place + bias[None])[None, ..., None]


@pytest.mark.parametrize("size", [(17, 33), (20, 35), (1, 1)])
def test_cells_are_drawn_on_their_pixels(size):
    """Cell i lies on pixel s i; logits in between are interpolated, up to the last pixel."""
    image = np.zeros((1, *size, 3), np.uint8)
    variables = api.init(Config(), jax.random.key(0))
    found = api.apply(Config(), variables, image)
    expected = np.arange(size[0])[:, None] + 1000.0 * np.arange(size[1])
    assert_close(found[0, ..., 0], expected, 1e-5)


def test_a_frozen_one_keeps_its_statistics_and_a_trained_one_has_its_own():
    image = np.random.default_rng(0).integers(0, 256, (2, 17, 17, 3), np.uint8)
    for trainable in (False, True):
        config = Config(backbone=dataclasses.replace(SMALL, trainable=trainable))
        variables = api.init(config, jax.random.key(0))
        assert "resnet" in variables["params" if trainable else "frozen"]
        _, updates = api.build(config).logits(variables, image, (17, 17), train=True)
        before, after = (
            tree["batch_stats"]["resnet"]["stem"]["norm"]["mean"] for tree in (variables, updates)
        )
        assert bool((before == after).all()) != trainable


def test_a_config_knows_which_backbone_it_holds():
    for backbone in (ResNet(depth=101, trainable=True), None):
        config = Config(backbone=backbone, taps=("stage3",) if backbone else ("pixels",))
        text = json.dumps(config_json.to_dict(config))
        assert config_json.from_dict(Config, json.loads(text)) == config
    changed = config_json.override(Config(), ["backbone.depth=101"])
    assert changed.backbone == dataclasses.replace(SMALL, depth=101)
    with pytest.raises(UserError, match=r"backbone\.batch_norm: write field=value"):
        config_json.override(Config(), ["backbone.batch_norm=true"])
