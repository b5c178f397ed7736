"""VGG-16 weights: the same numbers from each format, into the place that the config says."""

import dataclasses
import hashlib
import logging
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax.backbones import pretrained, readers
from reseg_jax.backbones.vgg import VGG16
from reseg_jax.errors import UserError
from reseg_jax.networks.base import NetworkConfig
from tests.support import vgg_files
from tests.support.vgg_files import FORMATS, SMALL, SUFFIXES, write_keras_1, write_npz

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"
CONVOLUTIONS = [name for name in SMALL if name.startswith("conv")]
FROZEN = VGG16()
TREE = vgg_files.random_layers("conv1_1", "conv1_2")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(NetworkConfig):
    """A network that reads one map."""

    backbone: VGG16 | None = FROZEN
    tap: str = "conv1_2"

    @property
    def taps(self):
        return (self.tap,)


@pytest.fixture
def small(monkeypatch):
    """The published layers are as narrow as this suite's."""
    monkeypatch.setattr(readers, "KERNEL_SHAPES", SMALL)


def assert_equal_trees(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=True)


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_gives_the_same_tree(tmp_path, small, name):
    write, suffix, preprocessing = FORMATS[name]
    tree = vgg_files.random_layers("conv1_1", "conv1_2", "fc6", "fc7")
    write(tmp_path / f"vgg{suffix}", tree)
    found, found_preprocessing = readers.load_vgg(tmp_path / f"vgg{suffix}")
    assert found_preprocessing == preprocessing
    assert_equal_trees(found, tree)
    found, _ = readers.load_vgg(tmp_path / f"vgg{suffix}", ["fc7", "conv1_1", "conv5_3"])
    assert_equal_trees(found, {name: tree[name] for name in ("fc7", "conv1_1")})


def test_a_fully_connected_layer_is_read_as_its_convolution():
    """At its only position the kernel gives what the matrix gives of the flattened map."""
    rng = np.random.default_rng(1)
    pool5, matrix = rng.standard_normal((7, 7, 512)), rng.standard_normal((5, 7 * 7 * 512))
    kernel = readers._from_torch(matrix, (7, 7))  # torch flattens [C, H, W]
    np.testing.assert_allclose(
        np.einsum("hwc,hwcd->d", pool5, kernel), matrix @ pool5.transpose(2, 0, 1).ravel()
    )
    kernel = readers._from_keras(matrix.T, (7, 7))  # Keras flattens [H, W, C]
    np.testing.assert_allclose(np.einsum("hwc,hwcd->d", pool5, kernel), matrix @ pool5.ravel())


def test_layers_have_vgg_16s_number_of_parameters():
    """Published with torchvision's weights: 138,357,544, of which the last layer is left out."""
    counts = [math.prod(shape) + shape[-1] for shape in readers.KERNEL_SHAPES.values()]
    assert sum(counts) == 138_357_544 - (4096 + 1) * 1000
    assert list(readers.KERNEL_SHAPES) == list(SMALL)


@pytest.mark.parametrize("file", ["torch_zip.pth", "torch_legacy.pth"])
def test_a_file_of_torch_itself(file):
    """goldens/make_torch_state_dict.py has w[o, i, h, w] = (27 o + 9 i + 3 h + w) / 1024."""
    tree, preprocessing = readers.load_vgg(GOLDENS / file)
    assert preprocessing == "torchvision"
    h, w, i, o = np.indices((3, 3, 3, 64))
    kernel = ((27 * o + 9 * i + 3 * h + w) / 1024).astype("f4")
    assert_equal_trees(tree, {"conv1_1": {"kernel": kernel, "bias": np.arange(5, 69, dtype="f4")}})


def test_layer_numbers_are_torchvisions():
    """Counted as torchvision lists VGG-16 (configuration D): a ReLU after each convolution."""
    listed = [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"]
    tensors, position = {}, 0
    for entry in listed:
        if entry != "M":
            tensors[f"features.{position}.bias"] = np.full(entry, position)
        position += 1 if entry == "M" else 2
    tree, _ = readers._from_torchvision(tensors, SMALL)
    assert list(tree) == CONVOLUTIONS
    assert [len(layer["bias"]) for layer in tree.values()] == [n for n in listed if n != "M"]


def test_npz_may_name_its_preprocessing(tmp_path, small):
    write_npz(tmp_path / "vgg.npz", TREE, preprocessing="caffe")
    assert readers.load_vgg(tmp_path / "vgg.npz")[1] == "caffe"
    write_npz(tmp_path / "vgg.npz", TREE, preprocessing="yuv")
    with pytest.raises(UserError, match=r"vgg\.npz: preprocessing='yuv' is unknown; known are: c"):
        readers.load_vgg(tmp_path / "vgg.npz")


def test_real_weights_come_through_unchanged(vgg_weights_path):
    digest = hashlib.sha256(vgg_weights_path.read_bytes()).hexdigest()
    assert digest == "85594ab2ae9403de8d5ce81d5edb8cdb242b6fa10ca492e3bde2c8fc5d905d2a"
    variables = {"params": {}, "frozen": {"vgg": {}}}
    config, variables = pretrained.use_vgg_weights(
        Config(tap="conv3_3"), variables, vgg_weights_path
    )
    assert config.preprocessing == "torchvision"
    vgg = variables["frozen"]["vgg"]
    assert list(vgg) == CONVOLUTIONS[:7]
    assert sum(leaf.size for leaf in jax.tree.leaves(vgg)) == 1_735_488  # paper's seven layers
    with np.load(vgg_weights_path) as file:
        assert len(file.files) == 14
        for key in file.files:
            name, part = key.split("/")
            np.testing.assert_array_equal(vgg[name][part], file[key], strict=True)


@pytest.mark.parametrize(("trainable", "home"), [(False, "frozen"), (True, "params")])
def test_weights_go_where_the_config_keeps_them(tmp_path, small, trainable, home):
    def config(preprocessing):
        backbone = VGG16(trainable=trainable)
        return Config(backbone=backbone, preprocessing=preprocessing)

    before = {"params": {"classifier": {"bias": jnp.ones(2)}}}
    before.setdefault(home, {})["vgg"] = jax.tree.map(jnp.zeros_like, TREE)
    more = vgg_files.random_layers("conv2_1")  # beyond the tap: left out
    write_npz(tmp_path / "vgg.npz", TREE | more)
    changed, after = pretrained.use_vgg_weights(config("caffe"), before, tmp_path / "vgg.npz")
    assert changed == config("torchvision")
    assert jax.tree.structure(after) == jax.tree.structure(before)
    assert after["params"]["classifier"] is before["params"]["classifier"]
    assert_equal_trees(after[home]["vgg"], TREE)
    assert not any(map(jnp.any, jax.tree.leaves(before[home]["vgg"])))  # left as it was


def test_fully_connected_layers_are_loaded_or_keep_their_values_with_a_warning(
    tmp_path, small, caplog
):
    tree = vgg_files.random_layers(*SMALL)
    write_npz(tmp_path / "whole.npz", tree)
    write_npz(tmp_path / "notop.npz", {name: tree[name] for name in CONVOLUTIONS})
    variables = {"params": {}, "frozen": {"vgg": jax.tree.map(jnp.zeros_like, tree)}}

    def load(name, **backbone):
        config = Config(backbone=VGG16(**backbone), tap="fc7")
        with caplog.at_level(logging.WARNING, "reseg_jax"):
            caplog.clear()
            return pretrained.use_vgg_weights(config, variables, tmp_path / name)[1]["frozen"]

    assert_equal_trees(load("whole.npz"), {"vgg": tree})
    assert not caplog.records
    random = {name: variables["frozen"]["vgg"][name] for name in ("fc6", "fc7")}
    assert_equal_trees(load("notop.npz"), {"vgg": tree | random})
    assert "notop.npz has no fc6 and fc7 of 4096 channels" in caplog.messages[0]
    assert_equal_trees(load("whole.npz", fc_channels=1024), {"vgg": tree | random})
    assert "whole.npz has no fc6 and fc7 of 1024 channels" in caplog.messages[0]
    variables = {"params": {}}  # nothing to keep: a head saved without its backbone
    with pytest.raises(UserError, match=r"notop\.npz has no fc6, fc7, which this network needs"):
        load("notop.npz")


def test_missing_layer_is_named(tmp_path, small):
    write_npz(tmp_path / "vgg.npz", TREE)
    config = Config(tap="conv2_2")
    with pytest.raises(UserError, match="has no conv2_1, conv2_2, which this network needs"):
        pretrained.use_vgg_weights(config, {"params": {}}, tmp_path / "vgg.npz")


@pytest.mark.parametrize(
    "change", [{"batch_norm": True}, {"channels": (8, 16, 32, 64, 64)}], ids=["norm", "channels"]
)
def test_another_backbone_than_the_published_one_is_refused(change):
    config = Config(backbone=VGG16(**change))
    with pytest.raises(UserError, match=f"backbone.{next(iter(change))}="):
        pretrained.use_vgg_weights(config, {"params": {}})


def test_network_without_backbone(tmp_path):
    variables = {"params": {}}
    config = Config(backbone=None)
    assert pretrained.use_vgg_weights(config, variables) == (config, variables)
    with pytest.raises(UserError, match="--backbone_weights is given but the network has no"):
        pretrained.use_vgg_weights(config, variables, tmp_path / "vgg.npz")


def test_without_a_path_the_source_is_fetched_once(tmp_path, small, monkeypatch):
    monkeypatch.setenv("RESEG_CACHE", str(tmp_path / "cache"))
    remote = tmp_path / "vgg.h5"
    write_keras_1(remote, TREE)
    body = remote.read_bytes()
    source = pretrained.Source(remote.as_uri(), size=len(body), md5=hashlib.md5(body).hexdigest())
    for _ in range(2):
        config, variables = pretrained.use_vgg_weights(Config(), {"params": {}}, source=source)
        assert config.preprocessing == "caffe"
        assert_equal_trees(variables["frozen"]["vgg"], TREE)
        remote.unlink(missing_ok=True)
    assert (tmp_path / "cache" / "vgg16" / "vgg.h5").read_bytes() == body


def test_without_network_the_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("RESEG_CACHE", str(tmp_path))
    # Port 9 of this machine, "discard", has had no server in decades.
    source = pretrained.KERAS._replace(url="http://127.0.0.1:9/vgg.h5")
    with pytest.raises(UserError) as caught:
        pretrained.use_vgg_weights(Config(), {"params": {}}, source=source)
    sentence = str(caught.value)
    assert "\n" not in sentence
    for part in (
        source.url,
        str(tmp_path / "vgg16" / "vgg.h5"),
        "--backbone_weights=PATH",
        *SUFFIXES,
    ):
        assert part in sentence
