"""Pickles: what real torch and Python 2 wrote comes back; whatever is not an array is refused."""

import io
import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest

from reseg_jax.errors import UserError
from reseg_jax.files import pickles, torch_files

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens"
MAGIC = 0x1950A86A20F9469CFC6C


@pytest.fixture(params=["torch_zip.pth", "torch_legacy.pth"])
def torch_file(request):
    return GOLDENS / request.param


def test_torch_tensors_come_back_as_torch_had_them(torch_file):
    """The values are those that goldens/make_torch_state_dict.py names, written down in NumPy."""
    expected = {
        "features.0.weight": np.arange(1728, dtype="f4").reshape(64, 3, 3, 3) / 1024,
        "features.0.bias": np.arange(5, 69, dtype="f4"),
        "strided": np.array([1, 3, 5, 7, 9, 11], "f4"),
        "transposed": np.array([[0, 3], [1, 4], [2, 5]], "f8"),
        "repeated": np.array([[0, 1], [0, 1], [0, 1]], "f4"),
        "empty": np.zeros((0, 4), "f4"),
        "scalar": np.array(7, "i8"),
        "half": np.array([0.5, -2], "f2"),
        "bool": np.array([True, False]),
        "int32": np.array([-3], "i4"),
    }
    found = torch_files.read_torch(torch_file)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_prefix_picks_tensors(torch_file):
    assert list(torch_files.read_torch(torch_file, prefix="features.0.b")) == ["features.0.bias"]


@pytest.mark.parametrize("kept", [3, 40, 0.5, 0.9, -1])
def test_cut_torch_file_is_one_sentence(torch_file, tmp_path, kept):
    data = torch_file.read_bytes()
    cut = tmp_path / "cut.pth"
    cut.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(UserError, match=r"cut\.pth is damaged"):
        torch_files.read_torch(cut)


def zip_of(path, data_pkl, storage=b"", byteorder=None):
    """A torch archive of these parts."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data_pkl)
        archive.writestr("archive/data/0", storage)
        if byteorder:
            archive.writestr("archive/byteorder", byteorder)
    return path


def state_of(offset, shape, stride):
    """The pickle, in its text protocol, of {"x": one-dimensional tensor of float storage 0}."""
    return (
        b"(dVx\nctorch._utils\n_rebuild_tensor_v2\n((Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI4\nt"
        b"QI%d\n(I%d\nt(I%d\ntI00\nNtRs." % (offset, shape, stride)
    )


def test_big_endian_archive(tmp_path):
    numbers = np.array([1, 2, 3, 4], ">f4").tobytes()
    path = zip_of(tmp_path / "big.pt", state_of(1, 3, 1), numbers, b"big")
    np.testing.assert_array_equal(torch_files.read_torch(path)["x"], [2, 3, 4])


@pytest.mark.parametrize("where", [(2, 3, 1), (0, 3, 2), (-1, 2, 1), (1, 4, -1), (0, 10**12, 1)])
def test_tensor_outside_its_storage_is_refused(tmp_path, where):
    path = zip_of(tmp_path / "outside.pt", state_of(*where), bytes(16))
    with pytest.raises(UserError, match=r"outside\.pt is damaged"):
        torch_files.read_torch(path)


def test_a_lone_tensor_is_no_state_dict(tmp_path):
    path = zip_of(tmp_path / "lone.pt", pickle.dumps([1.0]))
    with pytest.raises(UserError, match="holds a list and not a state dict"):
        torch_files.read_torch(path)


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def evil_zip(path, evil):
    zip_of(path, evil)


def evil_legacy(path, evil):
    path.write_bytes(b"".join(map(pickle.dumps, (MAGIC, 1001, {"little_endian": True}))) + evil)


def evil_first(path, evil):
    path.write_bytes(evil)


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize(
    ("write", "read"),
    [
        (evil_zip, torch_files.read_torch),
        (evil_legacy, torch_files.read_torch),
        (evil_first, torch_files.read_torch),
        (evil_first, pickles.read_arrays),
    ],
)
def test_malicious_pickle_is_refused_and_not_run(tmp_path, write, read, protocol):
    marker = tmp_path / "marker"
    evil = pickle.dumps({"x": Call(os.system, f"touch {marker}")}, protocol)
    path = tmp_path / "evil.pth"
    write(path, evil)
    with pytest.raises(UserError, match=r"evil\.pth asks for .*\.system.*refused"):
        read(path)
    assert not marker.exists()
    pickle.loads(evil)  # the test's own bait works
    assert marker.exists()


@pytest.mark.parametrize(
    "name", ["builtins\neval", "builtins\ngetattr", "numpy\nload", "torch\nload"]
)
@pytest.mark.parametrize("read", [torch_files.read_torch, pickles.read_arrays])
def test_names_beyond_arrays_are_refused(tmp_path, name, read):
    path = tmp_path / "name.pth"
    path.write_bytes(f"c{name}\n.".encode())
    with pytest.raises(UserError, match=rf"asks for {name.replace(chr(10), '.')}"):
        read(path)


@pytest.mark.parametrize("name", ["python2_text.pkl", "python2_binary.pkl"])
def test_python_2_pickles(name):
    """The values are those that goldens/make_python2_pickles.py names."""
    content = pickles.read_arrays(GOLDENS / name)
    kernel, fortran = content["param values"]
    np.testing.assert_array_equal(
        kernel, np.arange(54, dtype="f4").reshape(2, 3, 3, 3) / 8, strict=True
    )
    np.testing.assert_array_equal(fortran, [[0, 1, 2], [3, 4, 5]])
    assert fortran.dtype == ">f8"
    np.testing.assert_array_equal(content["mean value"], [103.939, 116.779, 123.68])
    assert content["scalar"] == np.float32(0.5)
    assert content["synset words"] == ["tench, Tinca tinca", "caf\xe9"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol(tmp_path, protocol):
    """What today's NumPy writes, old protocols included: their bytes go through a codec."""
    content = {
        "a": [np.arange(300, dtype="f4").reshape(4, 75), np.asfortranarray(np.eye(3)[:2])],
        "b": (np.float64(2.5), np.array(["x", "yz"]), 3, None),
    }
    path = tmp_path / "arrays.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    found = pickles.read_arrays(path)
    for array, expected in zip(found["a"], content["a"], strict=True):
        np.testing.assert_array_equal(array, expected, strict=True)
    assert found["b"][0] == 2.5
    assert list(found["b"][1]) == ["x", "yz"]
    assert found["b"][2:] == (3, None)


def test_arrays_of_objects_are_refused(tmp_path):
    path = tmp_path / "objects.pkl"
    path.write_bytes(pickle.dumps(np.array([{}], object)))
    with pytest.raises(UserError, match=r"objects\.pkl is damaged or not"):
        pickles.read_arrays(path)


@pytest.mark.parametrize("kept", [1, 100, -1])
def test_cut_pickle_is_one_sentence(tmp_path, kept):
    file = io.BytesIO()
    pickle.dump([np.arange(100)], file)
    path = tmp_path / "cut.pkl"
    path.write_bytes(file.getvalue()[:kept])
    with pytest.raises(UserError, match=r"cut\.pkl is damaged"):
        pickles.read_arrays(path)
