"""VGG-16 weights: the same numbers out of each format, and one sentence for each bad file."""

import hashlib
import http.server
import pathlib
import pickle
import sys
import threading

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from reseg_jax import weights
from reseg_jax.config import VGG_LAYERS, ReSegConfig
from reseg_jax.errors import UserError

GOLDENS = pathlib.Path(__file__).parent / "goldens"
LAYERS = ("conv1_1", "conv1_2")
CONFIG = ReSegConfig(vgg_layer="conv1_2")
SUFFIXES = (".npz", ".pth", ".pt", ".safetensors", ".h5", ".pkl")


@pytest.fixture(scope="module")
def tree():
    """conv1_1 and conv1_2 with random numbers, in our layout."""
    rng = np.random.default_rng(0)
    shapes = {"conv1_1": (3, 3, 3, 64), "conv1_2": (3, 3, 64, 64)}
    return {
        name: {
            "kernel": rng.standard_normal(shape).astype("f4"),
            "bias": rng.standard_normal(64).astype("f4"),
        }
        for name, shape in shapes.items()
    }


def oihw(kernel):
    """The kernel in the layout of torch and Lasagne, element by element axis order."""
    return np.ascontiguousarray(np.einsum("hwio->oihw", kernel))


def torchvision_names(tree):
    numbers = {"conv1_1": 0, "conv1_2": 2}  # printed by torchvision.models.vgg16().features
    return {
        f"features.{numbers[name]}.{key}": array
        for name, layer in tree.items()
        for key, array in (("weight", oihw(layer["kernel"])), ("bias", layer["bias"]))
    }


def write_npz(path, tree, **more):
    flat = {f"{name}/{part}": a for name, layer in tree.items() for part, a in layer.items()}
    np.savez(path, **flat, **more)


def write_safetensors(path, tree):
    safetensors.numpy.save_file(
        torchvision_names(tree) | {"classifier.0.bias": np.zeros(2, "f4")}, path
    )


def write_keras_1(path, tree):
    with h5py.File(path, "w") as file:
        for name, layer in tree.items():
            group = f"block{name[4]}_conv{name[6]}"
            file[f"{group}/{group}_W_1:0"] = layer["kernel"]
            file[f"{group}/{group}_b_1:0"] = layer["bias"]
        file.create_group("block1_pool")


def write_keras_2(path, tree):
    with h5py.File(path, "w") as file:
        for name, layer in tree.items():
            group = f"block{name[4]}_conv{name[6]}"
            file[f"{group}/{group}/kernel:0"] = layer["kernel"]
            file[f"{group}/{group}/bias:0"] = layer["bias"]


def write_keras_model(path, tree):
    with h5py.File(path, "w") as file:
        for name, layer in tree.items():
            group = f"block{name[4]}_conv{name[6]}"
            file[f"model_weights/{group}/{group}/kernel:0"] = layer["kernel"]
            file[f"model_weights/{group}/{group}/bias:0"] = layer["bias"]
            file[f"optimizer_weights/{group}/{group}/kernel/m:0"] = 0 * layer["kernel"]


def write_lasagne(path, tree):
    arrays = [a for layer in tree.values() for a in (oihw(layer["kernel"]), layer["bias"])]
    content = {"param values": arrays, "mean value": np.zeros(3), "synset words": ["tench"]}
    path.write_bytes(pickle.dumps(content, 2))


FORMATS = {
    "npz": (write_npz, ".npz", "torchvision"),
    "safetensors": (write_safetensors, ".safetensors", "torchvision"),
    "keras 1": (write_keras_1, ".h5", "caffe"),
    "keras 2": (write_keras_2, ".h5", "caffe"),
    "keras model": (write_keras_model, ".H5", "caffe"),
    "lasagne": (write_lasagne, ".pkl", "caffe"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_gives_the_same_tree(tmp_path, tree, name):
    write, suffix, preprocessing = FORMATS[name]
    write(tmp_path / f"vgg{suffix}", tree)
    found, found_preprocessing = weights.load_vgg(tmp_path / f"vgg{suffix}")
    assert found_preprocessing == preprocessing
    assert jax.tree.structure(found) == jax.tree.structure(tree)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(tree), strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=True)


@pytest.mark.parametrize("file", ["torch_zip.pth", "torch_legacy.pth"])
def test_a_file_of_torch_itself(file):
    """goldens/make_torch_state_dict.py has w[o, i, h, w] = (27 o + 9 i + 3 h + w) / 1024."""
    tree, preprocessing = weights.load_vgg(GOLDENS / file)
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
    tree, _ = weights._from_torchvision(tensors)
    assert list(tree) == list(VGG_LAYERS)
    assert [len(layer["bias"]) for layer in tree.values()] == [n for n in listed if n != "M"]


@pytest.mark.parametrize("preprocessing", ["caffe", "torchvision"])
def test_npz_may_name_its_preprocessing(tmp_path, tree, preprocessing):
    write_npz(tmp_path / "vgg.npz", tree, preprocessing=preprocessing)
    assert weights.load_vgg(tmp_path / "vgg.npz")[1] == preprocessing


def test_unknown_preprocessing_lists_the_known(tmp_path, tree):
    write_npz(tmp_path / "vgg.npz", tree, preprocessing="yuv")
    with pytest.raises(UserError, match="'yuv'; known are: caffe, torchvision"):
        weights.load_vgg(tmp_path / "vgg.npz")


def test_real_weights_come_through_unchanged(vgg_weights_path):
    digest = hashlib.sha256(vgg_weights_path.read_bytes()).hexdigest()
    assert digest == "85594ab2ae9403de8d5ce81d5edb8cdb242b6fa10ca492e3bde2c8fc5d905d2a"
    variables = {"params": {}, "frozen": {"vgg": {}}}
    config, variables = weights.use_vgg_weights(ReSegConfig(), variables, vgg_weights_path)
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
    changed, after = weights.use_vgg_weights(config, before, tmp_path / "vgg.npz")
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
    _, variables = weights.use_vgg_weights(config, {"params": {}}, tmp_path / "vgg.npz")
    assert list(variables["frozen"]["vgg"]) == ["conv1_1"]


def test_missing_layer_is_named(tmp_path, tree):
    write_npz(tmp_path / "vgg.npz", tree)
    config = ReSegConfig(vgg_layer="conv2_2")
    with pytest.raises(UserError, match=r"has no conv2_1, conv2_2, which vgg_layer=conv2_2 needs"):
        weights.use_vgg_weights(config, {"params": {}}, tmp_path / "vgg.npz")


def test_network_without_vgg(tmp_path):
    variables = {"params": {}}
    config = ReSegConfig.no_vgg()
    assert weights.use_vgg_weights(config, variables) == (config, variables)
    with pytest.raises(UserError, match="--vgg_weights is given but the network has no VGG"):
        weights.use_vgg_weights(config, variables, tmp_path / "vgg.npz")


@pytest.mark.parametrize(
    ("part", "array", "message"),
    [
        ("kernel", np.zeros((64, 3, 3, 3), "f4"),
         r"conv1_1/kernel of shape \(64, 3, 3, 3\), .*\(3, 3, 3, 64\)"),
        ("bias", np.zeros(63, "f4"), r"conv1_1/bias of shape \(63,\), .*\(64,\)"),
        ("bias", np.full(64, np.nan, "f4"), "conv1_1/bias that are not finite"),
        ("bias", np.full(64, 1e300), "conv1_1/bias that are not finite"),
        ("bias", np.zeros(64, "i4"), "conv1_1/bias that are not finite floats"),
        ("bias", None, "conv1_1 without its bias"),
    ],
)  # fmt: skip
def test_wrong_layer_is_named(tmp_path, tree, part, array, message):
    layer = tree["conv1_1"] | {part: array}
    if array is None:
        del layer[part]
    write_npz(tmp_path / "vgg.npz", tree | {"conv1_1": layer})
    with pytest.raises(UserError, match=message):
        weights.load_vgg(tmp_path / "vgg.npz")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_empty_and_wrong_files(tmp_path, suffix):
    path = tmp_path / f"vgg{suffix}"
    for content, message in (
        (None, "does not exist"),
        (b"", "is empty"),
        (b"PK\x03\x04 and no more", "is damaged"),
        (b"neither this nor that" * 99, "is damaged"),
        (b"\x93NUMPY\x01\x00", "is damaged"),  # a lone array, cut: not the archive it should be
    ):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=message) as caught:
            weights.load_vgg(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0.3, 0.999])
@pytest.mark.parametrize("name", FORMATS)
def test_truncated_files(tmp_path, tree, name, kept):
    write, suffix, _ = FORMATS[name]
    path = tmp_path / f"vgg{suffix}"
    write(path, tree)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(UserError, match=f"vgg{suffix} is damaged"):
        weights.load_vgg(path)


def test_folder_and_unknown_suffix(tmp_path):
    (tmp_path / "vgg.npz").mkdir()
    with pytest.raises(UserError, match=r"vgg\.npz cannot be read: Is a directory"):
        weights.load_vgg(tmp_path / "vgg.npz")
    with pytest.raises(
        UserError, match=r"vgg\.caffemodel is of no known format: give one of \.npz"
    ):
        weights.load_vgg(tmp_path / "vgg.caffemodel")


def test_files_of_other_networks(tmp_path):
    np.savez(tmp_path / "other.npz", weight=np.zeros(3))
    with pytest.raises(UserError, match="none of the layers of VGG-16"):
        weights.load_vgg(tmp_path / "other.npz")
    (tmp_path / "other.pkl").write_bytes(pickle.dumps({"params": [1, 2]}))
    with pytest.raises(UserError, match="no list of 'param values'"):
        weights.load_vgg(tmp_path / "other.pkl")


def test_npz_of_objects_is_refused(tmp_path):
    np.savez(tmp_path / "evil.npz", **{"conv1_1/bias": np.array([{}], object)})
    with pytest.raises(UserError, match=r"evil\.npz is damaged"):
        weights.load_vgg(tmp_path / "evil.npz")


@pytest.mark.parametrize(("package", "suffix"), [("h5py", ".h5"), ("safetensors", ".safetensors")])
def test_missing_package_is_named(tmp_path, monkeypatch, package, suffix):
    (tmp_path / f"vgg{suffix}").write_bytes(b"content")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"needs a package: pip install {package}"):
        weights.load_vgg(tmp_path / f"vgg{suffix}")


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
        source = weights.Source(
            f"http://127.0.0.1:{server.server_port}/some/vgg.h5",
            size=len(body),
            md5=hashlib.md5(body).hexdigest(),
        )
        for _ in range(2):
            config, variables = weights.use_vgg_weights(CONFIG, {"params": {}}, source=source)
            assert config.preprocessing == "caffe"
            jax.tree.map(np.testing.assert_array_equal, variables["frozen"]["vgg"], tree)
        server.shutdown()
    assert requests == ["/some/vgg.h5"]
    assert (tmp_path / "cache" / "vgg16" / "vgg.h5").read_bytes() == body


def test_without_network_the_sentence_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("RESEG_CACHE", str(tmp_path))
    # Port 9 of this machine, "discard", has had no server in decades.
    source = weights.KERAS._replace(url="http://127.0.0.1:9/vgg.h5")
    with pytest.raises(UserError) as caught:
        weights.use_vgg_weights(CONFIG, {"params": {}}, source=source)
    sentence = str(caught.value)
    assert "\n" not in sentence
    for part in (source.url, str(tmp_path / "vgg16" / "vgg.h5"), "--vgg_weights=PATH", *SUFFIXES):
        assert part in sentence
