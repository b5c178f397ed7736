"""ResNet weights: torchvision's names, and the same numbers from each format into their place."""

import dataclasses
import itertools
import logging

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax.traverse_util import flatten_dict

from experiments.faults.weight_readers import torch_legacy, torch_zip
from reseg_jax.backbones import pretrained
from reseg_jax.backbones.resnet import ResNet
from reseg_jax.backbones.resnet_reader import torchvision_name
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import UserError
from reseg_jax.networks.base import NetworkConfig

NORM = ("weight", "bias", "running_mean", "running_var")


def published(blocks):
    """Names of torchvision's state dict, in its order; without the classifier and the counters."""
    yield "conv1.weight"
    yield from (f"bn1.{part}" for part in NORM)
    for layer, count in enumerate(blocks, start=1):
        for index in range(count):
            for number in (1, 2, 3):
                yield f"layer{layer}.{index}.conv{number}.weight"
                yield from (f"layer{layer}.{index}.bn{number}.{part}" for part in NORM)
            if index == 0:
                yield f"layer{layer}.0.downsample.0.weight"
                yield from (f"layer{layer}.0.downsample.1.{part}" for part in NORM)


def variables_of(backbone, taps=("stage5",)):
    init = backbone.module(taps).init
    return jax.eval_shape(init, jax.random.key(0), np.zeros((1, 9, 9, 3), np.float32))


@pytest.mark.parametrize(("depth", "blocks"), [(50, (3, 4, 6, 3)), (101, (3, 4, 23, 3))])
def test_names_are_torchvisions(depth, blocks):
    tree = variables_of(ResNet(depth=depth))
    found = [
        torchvision_name(name) for part in tree.values() for name in flatten_dict(part, sep="/")
    ]
    expected = list(published(blocks))
    assert len(found) == len(expected)
    assert set(found) == set(expected)
    # resnet50 has 320 entries: these, a counter for each normalization, and the classifier's two.
    assert depth != 50 or len(expected) + len(expected) // 5 + 2 == 320


# --- one stage of the published network -----------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(NetworkConfig):
    """A network that reads one map."""

    backbone: VGG16 | ResNet | None = ResNet()
    taps: tuple[str, ...] = ("stage2",)


def state_dict():
    """Random tensors of what `Config` needs, in torch's layout, and the start of its next stage."""
    rng = np.random.default_rng(0)
    tensors = {"layer2.0.conv1.weight": np.zeros((128, 256, 1, 1), np.float32)}
    for tree in variables_of(ResNet(), ("stage2",)).values():
        for name, leaf in flatten_dict(tree, sep="/").items():
            shape = [leaf.shape[axis] for axis in (3, 2, 0, 1)] if leaf.ndim == 4 else leaf.shape
            tensors[torchvision_name(name)] = rng.uniform(size=shape).astype(np.float32)
    return tensors


FORMATS = {".pth": torch_zip, ".pt": torch_legacy, ".safetensors": safetensors.numpy.save}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(("trainable", "home"), [(False, "frozen"), (True, "params")])
def test_each_format_goes_where_the_config_keeps_it(tmp_path, suffix, trainable, home):
    tensors, path = state_dict(), tmp_path / f"resnet{suffix}"
    path.write_bytes(FORMATS[suffix](tensors))
    config = Config(backbone=ResNet(trainable=trainable))
    classifier = {"classifier": {"bias": np.ones(2)}}
    changed, variables = pretrained.use_weights(config, {"params": classifier}, path)
    assert changed == dataclasses.replace(config, preprocessing="torchvision")
    assert variables["params"]["classifier"] is classifier["classifier"]
    found = {"params": variables[home]["resnet"], "batch_stats": variables["batch_stats"]["resnet"]}
    expected = variables_of(config.backbone, config.taps)
    assert jax.tree.map(lambda leaf: leaf.shape, found) == jax.tree.map(
        lambda leaf: leaf.shape, dict(expected)
    )
    for tree in found.values():
        for name, leaf in flatten_dict(tree, sep="/").items():
            tensor = tensors[torchvision_name(name)]
            tensor = np.einsum("oihw->hwio", tensor) if tensor.ndim == 4 else tensor
            np.testing.assert_array_equal(leaf, tensor)


def test_without_a_path_it_keeps_its_random_values_and_one_line_says_so(caplog):
    config, variables = Config(), {"params": {}}
    with caplog.at_level(logging.WARNING, "reseg_jax"):
        assert pretrained.use_weights(config, variables) == (config, variables)
    (line,) = caplog.messages
    assert line.startswith("the ResNet-50 begins with random values: --backbone_weights=FILE")
    assert pretrained.RESNETS[50].url in line and "\n" not in line


def test_other_backbones_have_their_own_weights(tmp_path):
    assert pretrained.use_weights(Config(backbone=None, taps=("pixels",)), {}) == (
        Config(backbone=None, taps=("pixels",)), {},
    )  # fmt: skip
    assert pretrained.sources(VGG16()) == pretrained.SOURCES
    assert pretrained.sources(ResNet()) == {}
    with pytest.raises(UserError, match=r"vgg\.npz does not exist"):
        pretrained.use_weights(
            Config(backbone=VGG16(), taps=("conv1_1",)), {}, tmp_path / "vgg.npz"
        )


@pytest.mark.parametrize(
    ("backbone", "words"),
    [
        (ResNet(stem="deep"), r"backbone\.stem=deep: the weights of a ResNet-50 are for stem=7x7"),
        (ResNet(width=8), r"backbone\.width=8: .* for width=64"),
        (ResNet(depth=14), r"has layer1\.1\.bn3\.bias: .* set backbone\.depth"),
    ],
)
def test_another_network_than_the_published_one_is_refused(tmp_path, backbone, words):
    path = tmp_path / "resnet.pth"
    path.write_bytes(torch_zip(state_dict()))
    with pytest.raises(UserError, match=words):
        pretrained.use_resnet_weights(Config(backbone=backbone), {"params": {}}, path)


def without(tensors, name):
    return {key: tensor for key, tensor in tensors.items() if key != name}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: without(t, "layer1.2.bn3.running_var"), "has no layer1.2.bn3.running_var: give"),
        (
            lambda t: t | {"layer2.4.bn3.bias": np.zeros(512, np.float32)},
            "has layer2.4.bn3.bias: give torchvision's weights of a ResNet-50",
        ),
        (
            lambda t: t | {"conv1.weight": np.zeros((64, 3, 5, 7), np.float32)},
            r"conv1.weight of shape \(5, 7, 3, 64\), and not \(7, 7, 3, 64\)",
        ),
        (
            lambda t: t | {"bn1.bias": np.full(64, np.nan, np.float32)},
            "bn1.bias that are not finite floats",
        ),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, suffix, change, words):
    path = tmp_path / f"resnet{suffix}"
    path.write_bytes(FORMATS[suffix](change(state_dict())))
    with pytest.raises(UserError, match=words) as caught:
        pretrained.use_resnet_weights(Config(), {"params": {}}, path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_missing_damaged_and_unknown_files(tmp_path):
    contents = {"a.pth": b"no weights", "b.safetensors": b"neither", "c.npz": b"", "d.pth": None}
    words = ("is damaged", "is damaged", "in no format of a ResNet", "does not exist")
    for (name, content), word in itertools.zip_longest(contents.items(), words):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=word):
            pretrained.use_resnet_weights(Config(), {"params": {}}, tmp_path / name)
