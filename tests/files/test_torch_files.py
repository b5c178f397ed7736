"""torch's files: what torch wrote comes back; whatever is not a tensor is refused, and not run."""

import os
import pathlib
import pickle
import zipfile

import numpy as np
import pytest

from reseg_jax.errors import UserError
from reseg_jax.files.torch_files import read_torch

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
    found = read_torch(torch_file)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, strict=True)


def test_names_pick_tensors(torch_file):
    assert list(read_torch(torch_file, {"features.0.bias": 64, "none": 1})) == ["features.0.bias"]


@pytest.mark.parametrize("kept", [3, 40, 0.5, 0.9, -1])
def test_cut_torch_file_is_one_sentence(torch_file, tmp_path, kept):
    data = torch_file.read_bytes()
    cut = tmp_path / "cut.pth"
    cut.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(UserError, match=r"cut\.pth is damaged"):
        read_torch(cut)


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
    np.testing.assert_array_equal(read_torch(path)["x"], [2, 3, 4])


@pytest.mark.parametrize("where", [(2, 3, 1), (0, 3, 2), (-1, 2, 1), (1, 4, -1), (0, 10**12, 1)])
def test_tensor_outside_its_storage_is_refused(tmp_path, where):
    path = zip_of(tmp_path / "outside.pt", state_of(*where), bytes(16))
    with pytest.raises(UserError, match=r"outside\.pt is damaged"):
        read_torch(path)


def test_what_holds_no_names_is_no_state_dict(tmp_path):
    path = zip_of(tmp_path / "lone.pt", pickle.dumps([1.0]))
    with pytest.raises(UserError, match="holds a list and not a state dict"):
        read_torch(path)


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
@pytest.mark.parametrize("write", [evil_zip, evil_legacy, evil_first])
def test_malicious_pickle_is_refused_and_not_run(tmp_path, write, protocol):
    marker = tmp_path / "marker"
    evil = pickle.dumps({"x": Call(os.system, f"touch {marker}")}, protocol)
    path = tmp_path / "evil.pth"
    write(path, evil)
    with pytest.raises(UserError, match=r"evil\.pth asks for .*\.system.*refused"):
        read_torch(path)
    assert not marker.exists()
    pickle.loads(evil)  # the test's own bait works
    assert marker.exists()


@pytest.mark.parametrize(
    "name", ["builtins\neval", "builtins\ngetattr", "numpy\nload", "torch\nload"]
)
def test_names_beyond_tensors_are_refused(tmp_path, name):
    path = tmp_path / "name.pth"
    path.write_bytes(f"c{name}\n.".encode())
    with pytest.raises(UserError, match=rf"asks for {name.replace(chr(10), '.')}"):
        read_torch(path)


def test_a_tensor_that_is_too_large_is_not_read(tmp_path):
    """Also one that repeats few numbers very often."""
    for where in ((0, 1 << 40, 0), (0, 5, 0)):
        path = zip_of(tmp_path / "large.pt", state_of(*where), bytes(16))
        with pytest.raises(UserError, match=r"large\.pt has x of shape .* more than 4 numbers"):
            read_torch(path, {"x": 4})
    assert read_torch(path, {"x": 5})["x"].shape == (5,)


def test_a_storage_is_as_large_as_it_states_and_packed_as_numbers_are(tmp_path, monkeypatch):
    path = zip_of(tmp_path / "other.pt", state_of(0, 3, 1), bytes(20))
    with pytest.raises(UserError, match="tensor storage 0 has another size than it states"):
        read_torch(path)
    monkeypatch.setattr("reseg_jax.files.zips._ALWAYS", 1 << 10)
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", state_of(0, 3, 1).replace(b"I4\n", b"I25000\n"))
        archive.writestr("archive/data/0", bytes(100_000))
    with pytest.raises(UserError, match=r"archive/data/0 would have 100000 bytes, packed in"):
        read_torch(tmp_path / "bomb.pt")
