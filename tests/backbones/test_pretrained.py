"""VGG-16 weights: the same numbers out of each format, into the place that the config says."""

import hashlib
import http.server
import pathlib
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax.backbones import pretrained
from reseg_jax.config import VGG_LAYERS, ReSegConfig
from reseg_jax.errors import UserError
from tests.support import vgg_files
from tests.support.vgg_files import FORMATS, SUFFIXES, write_keras_1, write_npz

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"
CONFIG = ReSegConfig(vgg_layer="conv1_2")


@pytest.fixture(scope="module")
def tree():
    return vgg_files.random_layers()


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_gives_the_same_tree(tmp_path, tree, name):
    write, suffix, preprocessing = FORMATS[name]
    write(tmp_path / f"vgg{suffix}", tree)
    found, found_preprocessing = pretrained.load_vgg(tmp_path / f"vgg{suffix}")
    assert found_preprocessing == preprocessing
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(tree), strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=True)


@pytest.mark.parametrize("file", ["torch_zip.pth", "torch_legacy.pth"])
def test_a_file_of_torch_itself(file):
    """goldens/make_torch_state_dict.py has w[o, i, h, w] = (27 o + 9 i + 3 h + w) / 1024."""
    tree, preprocessing = pretrained.load_vgg(GOLDENS / file)
    assert preprocessing == "torchvision"
    assert list(tree) == ["conv1_1"]
    h, w, i, o = np.indices((3, 3, 3, 64))
    expected = ((27 * o + 9 * i + 3 * h + w) / 1024).astype("f4")
    np.testing.assert_array_equal(tree["conv1_1"]["kernel"], expected, strict=True)
    np.testing.assert_array_equal(tree["conv1_1"]["bias"], np.arange(5, 69, dtype="f4"))


def test_layer_numbers_are_torchvisions():
    """Counted as torchvision lists VGG-16 (configuration D): a ReLU behind each convolution."""
    listed = [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"]
    tensors, position = {}, 0
    for entry in listed:
        if entry != "M":
            tensors[f"features.{position}.bias"] = np.full(entry, position)
        position += 1 if entry == "M" else 2
    tree, _ = pretrained._from_torchvision(tensors)
    assert list(tree) == list(VGG_LAYERS)
    assert [len(layer["bias"]) for layer in tree.values()] == [n for n in listed if n != "M"]


@pytest.mark.parametrize("preprocessing", ["caffe", "torchvision"])
def test_npz_may_name_its_preprocessing(tmp_path, tree, preprocessing):
    write_npz(tmp_path / "vgg.npz", tree, preprocessing=preprocessing)
    assert pretrained.load_vgg(tmp_path / "vgg.npz")[1] == preprocessing


def test_unknown_preprocessing_lists_the_known(tmp_path, tree):
    write_npz(tmp_path / "vgg.npz", tree, preprocessing="yuv")
    with pytest.raises(UserError, match="'yuv'; known are: caffe, torchvision"):
        pretrained.load_vgg(tmp_path / "vgg.npz")


def test_real_weights_come_through_unchanged(vgg_weights_path):
    digest = hashlib.sha256(vgg_weights_path.read_bytes()).hexdigest()
    assert digest == "85594ab2ae9403de8d5ce81d5edb8cdb242b6fa10ca492e3bde2c8fc5d905d2a"
    variables = {"params": {}, "frozen": {"vgg": {}}}
    config, variables = pretrained.use_vgg_weights(ReSegConfig(), variables, vgg_weights_path)
    assert config.preprocessing == "torchvision"
    vgg = variables["frozen"]["vgg"]
    assert list(vgg) == list(VGG_LAYERS)[:7]
    assert sum(leaf.size for leaf in jax.tree.leaves(vgg)) == 1_735_488  # paper's seven layers
    with np.load(vgg_weights_path) as file:
        assert len(file.files) == 14
        for key in file.files:
            name, part = key.split("/")
            np.testing.assert_array_equal(vgg[name][part], file[key], strict=True)


def zeros(tree, home):
    """Variables with zeros for VGG in `home`, and one other parameter."""
    variables = {"params": {"classifier": {"bias": jnp.ones(2)}}}
    variables.setdefault(home, {})["vgg"] = jax.tree.map(jnp.zeros_like, tree)
    return variables


@pytest.mark.parametrize(("finetune", "home"), [(False, "frozen"), (True, "params")])
def test_weights_go_where_the_config_keeps_them(tmp_path, tree, finetune, home):
    config = ReSegConfig(vgg_layer="conv1_2", finetune_vgg=finetune, preprocessing="caffe")
    before = zeros(tree, home)
    write_npz(tmp_path / "vgg.npz", tree)
    changed, after = pretrained.use_vgg_weights(config, before, tmp_path / "vgg.npz")
    assert changed == ReSegConfig(
        vgg_layer="conv1_2", finetune_vgg=finetune, preprocessing="torchvision"
    )
    assert jax.tree.structure(after) == jax.tree.structure(before)
    assert after["params"]["classifier"] is before["params"]["classifier"]
    jax.tree.map(np.testing.assert_array_equal, after[home]["vgg"], tree)
    assert not any(map(jnp.any, jax.tree.leaves(before[home]["vgg"])))  # left as it was


def test_layers_beyond_the_cut_are_left_out(tmp_path, tree):
    write_npz(tmp_path / "vgg.npz", tree)
    config = ReSegConfig(vgg_layer="conv1_1")
    _, variables = pretrained.use_vgg_weights(config, {"params": {}}, tmp_path / "vgg.npz")
    assert list(variables["frozen"]["vgg"]) == ["conv1_1"]


def test_missing_layer_is_named(tmp_path, tree):
    write_npz(tmp_path / "vgg.npz", tree)
    config = ReSegConfig(vgg_layer="conv2_2")
    with pytest.raises(UserError, match=r"has no conv2_1, conv2_2, which vgg_layer=conv2_2 needs"):
        pretrained.use_vgg_weights(config, {"params": {}}, tmp_path / "vgg.npz")


def test_network_without_vgg(tmp_path):
    variables = {"params": {}}
    config = ReSegConfig.no_vgg()
    assert pretrained.use_vgg_weights(config, variables) == (config, variables)
    with pytest.raises(UserError, match="--vgg_weights is given but the network has no VGG"):
        pretrained.use_vgg_weights(config, variables, tmp_path / "vgg.npz")


def test_without_a_path_the_source_is_fetched_once(tmp_path, tree, monkeypatch):
    monkeypatch.setenv("RESEG_CACHE", str(tmp_path / "cache"))
    write_keras_1(tmp_path / "vgg.h5", tree)
    body = (tmp_path / "vgg.h5").read_bytes()
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        source = pretrained.Source(
            f"http://127.0.0.1:{server.server_port}/some/vgg.h5",
            size=len(body),
            md5=hashlib.md5(body).hexdigest(),
        )
        for _ in range(2):
            config, variables = pretrained.use_vgg_weights(CONFIG, {"params": {}}, source=source)
            assert config.preprocessing == "caffe"
            jax.tree.map(np.testing.assert_array_equal, variables["frozen"]["vgg"], tree)
        server.shutdown()
    assert requests == ["/some/vgg.h5"]
    assert (tmp_path / "cache" / "vgg16" / "vgg.h5").read_bytes() == body


def test_without_network_the_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("RESEG_CACHE", str(tmp_path))
    # Port 9 of this machine, "discard", has had no server in decades.
    source = pretrained.KERAS._replace(url="http://127.0.0.1:9/vgg.h5")
    with pytest.raises(UserError) as caught:
        pretrained.use_vgg_weights(CONFIG, {"params": {}}, source=source)
    sentence = str(caught.value)
    assert "\n" not in sentence
    for part in (source.url, str(tmp_path / "vgg16" / "vgg.h5"), "--vgg_weights=PATH", *SUFFIXES):
        assert part in sentence
