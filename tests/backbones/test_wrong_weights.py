"""Files of weights that are not as they should be: one sentence each, which names the file."""

import pickle
import sys

import numpy as np
import pytest

from reseg_jax.backbones import pretrained
from reseg_jax.errors import UserError
from tests.support import vgg_files
from tests.support.vgg_files import FORMATS, SUFFIXES, write_npz


@pytest.fixture(scope="module")
def tree():
    return vgg_files.random_layers()


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
        pretrained.load_vgg(tmp_path / "vgg.npz")


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
            pretrained.load_vgg(path)
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
        pretrained.load_vgg(path)


def test_folder_and_unknown_suffix(tmp_path):
    (tmp_path / "vgg.npz").mkdir()
    with pytest.raises(UserError, match=r"vgg\.npz cannot be read: Is a directory"):
        pretrained.load_vgg(tmp_path / "vgg.npz")
    with pytest.raises(
        UserError, match=r"vgg\.caffemodel is of no known format: give one of \.npz"
    ):
        pretrained.load_vgg(tmp_path / "vgg.caffemodel")


def test_files_of_other_networks(tmp_path):
    np.savez(tmp_path / "other.npz", weight=np.zeros(3))
    with pytest.raises(UserError, match="none of the layers of VGG-16"):
        pretrained.load_vgg(tmp_path / "other.npz")
    (tmp_path / "other.pkl").write_bytes(pickle.dumps({"params": [1, 2]}))
    with pytest.raises(UserError, match="no list of 'param values'"):
        pretrained.load_vgg(tmp_path / "other.pkl")


def test_npz_of_objects_is_refused(tmp_path):
    np.savez(tmp_path / "evil.npz", **{"conv1_1/bias": np.array([{}], object)})
    with pytest.raises(UserError, match=r"evil\.npz is damaged"):
        pretrained.load_vgg(tmp_path / "evil.npz")


@pytest.mark.parametrize(("package", "suffix"), [("h5py", ".h5"), ("safetensors", ".safetensors")])
def test_missing_package_is_named(tmp_path, monkeypatch, package, suffix):
    (tmp_path / f"vgg{suffix}").write_bytes(b"content")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"needs a package: pip install {package}"):
        pretrained.load_vgg(tmp_path / f"vgg{suffix}")
