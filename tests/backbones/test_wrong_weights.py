"""Files of weights that are not as they should be: one sentence each, which names the file."""

import sys

import numpy as np
import pytest

from reseg_jax.backbones import readers
from reseg_jax.errors import UserError
from tests.support import vgg_files
from tests.support.vgg_files import FORMATS, SUFFIXES, write_npz


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
def test_wrong_layer_is_named(tmp_path, part, array, message):
    (layer,) = vgg_files.random_layers("conv1_1", shapes={"conv1_1": (3, 3, 3, 64)}).values()
    layer[part] = array
    if array is None:
        del layer[part]
    write_npz(tmp_path / "vgg.npz", {"conv1_1": layer})
    with pytest.raises(UserError, match=message):
        readers.load_vgg(tmp_path / "vgg.npz")


@pytest.mark.parametrize("name", ["safetensors", "keras 2"])
@pytest.mark.parametrize("shape", [(7, 7, 2, 4), (6, 6, 2, 4)])
def test_a_matrix_of_another_network_is_named(tmp_path, name, shape):
    """AlexNet's first fully connected layer, for example, reads 6x6 cells."""
    write, suffix, _ = FORMATS[name]
    write(tmp_path / f"vgg{suffix}", vgg_files.random_layers("fc6", shapes={"fc6": shape}))
    with pytest.raises(UserError, match=r"fc6/kernel of shape .*\(7, 7, 512, 4096\)"):
        readers.load_vgg(tmp_path / f"vgg{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_missing_empty_and_wrong_files(tmp_path, suffix):
    path = tmp_path / f"vgg{suffix}"
    for content, message in (
        (None, "does not exist"),
        (b"", "is empty"),
        (b"PK\x03\x04 and no more", "is damaged"),
        (b"neither this nor that" * 99, "is damaged"),
        (b"\x93NUMPY\x01\x00", "is damaged"),  # a single array, cut: not the archive it should be
    ):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=message) as caught:
            readers.load_vgg(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0.3, 0.999])
@pytest.mark.parametrize("name", FORMATS)
def test_truncated_files(tmp_path, name, kept):
    write, suffix, _ = FORMATS[name]
    path = tmp_path / f"vgg{suffix}"
    write(path, vgg_files.random_layers("conv1_1", "fc6"))
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(UserError, match=f"vgg{suffix} is damaged"):
        readers.load_vgg(path)


def test_folder_unknown_suffix_and_another_network(tmp_path):
    (tmp_path / "vgg.npz").mkdir()
    np.savez(tmp_path / "other.npz", weight=np.zeros(3))
    for name, message in {
        "vgg.npz": r"vgg\.npz cannot be read: Is a directory",
        "vgg.caffemodel": r"vgg\.caffemodel has no known format: give one of \.npz",
        "other.npz": "none of the layers of VGG-16",
    }.items():
        with pytest.raises(UserError, match=message):
            readers.load_vgg(tmp_path / name)


def test_npz_of_objects_is_refused(tmp_path):
    np.savez(tmp_path / "evil.npz", **{"conv1_1/bias": np.array([{}], object)})
    with pytest.raises(UserError, match=r"evil\.npz is damaged"):
        readers.load_vgg(tmp_path / "evil.npz")


@pytest.mark.parametrize(("package", "suffix"), [("h5py", ".h5"), ("safetensors", ".safetensors")])
def test_missing_package_is_named(tmp_path, monkeypatch, package, suffix):
    (tmp_path / f"vgg{suffix}").write_bytes(b"content")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"needs a package: pip install {package}"):
        readers.load_vgg(tmp_path / f"vgg{suffix}")
