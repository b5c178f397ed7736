"""Arrays of an `.npz` are NumPy's, and none is read that is not what it states."""

import io
import zipfile

import numpy as np
import pytest

from reseg_jax.errors import UserError
from reseg_jax.files.npz import open_npz

ARRAYS = {
    "a/kernel": np.arange(6, dtype="f4").reshape(2, 3),
    "by columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian": np.arange(3, dtype=">i2"),
    "empty": np.zeros((0, 4), "f2"),
    "scalar": np.array(7),
    "text": np.array('{"a": "é"}'),
}


def npy(array, shape=None):
    """The bytes of an array, with another shape in its header."""
    content = io.BytesIO()
    header = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(content, header | ({"shape": shape} if shape else {}))
    return content.getvalue() + array.tobytes()


def archive(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_are_what_numpy_wrote(tmp_path, save):
    save(tmp_path / "a.npz", **ARRAYS)
    with open_npz(tmp_path / "a.npz") as entries:
        assert entries.keys() == ARRAYS.keys()
        for name, array in ARRAYS.items():
            assert (entries[name].shape, entries[name].dtype) == (array.shape, array.dtype)
            np.testing.assert_array_equal(entries[name].read(), array, strict=True)
        assert entries["text"].text(10) == '{"a": "é"}'
        for name, limit in (("text", 9), ("scalar", 9), ("a/kernel", 9)):
            with pytest.raises(ValueError, match="no text"):
                entries[name].text(limit)


@pytest.mark.parametrize(
    "content",
    [
        npy(np.zeros(2), (3,)),
        npy(np.zeros(2), (1,)),
        npy(np.zeros(6), (-2, -3)),
        npy(np.zeros(2), (1 << 62, 1 << 62)),
        npy(np.zeros(1, "V8")).replace(b"|V8", b"|O "),
        b"\x93NUMPY\x09\x00 a version that is unknown",
        b"no array",
        b"",
    ],
)
def test_what_is_not_what_it_states_is_refused(tmp_path, content):
    path = archive(tmp_path / "a.npz", {"a.npy": content})
    with open_npz(path) as entries, pytest.raises((ValueError, LookupError, SyntaxError)):
        entries["a"].read()


def test_only_what_is_asked_for_is_unpacked(tmp_path):
    """Four members of 300 MB of zeros in a file of a megabyte: none is unpacked."""
    path = tmp_path / "bomb.npz"
    zeros = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        zeros, {"descr": "<f4", "fortran_order": False, "shape": (75 << 20,)}
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        with file.open("bomb.npy", "w") as member:
            member.write(zeros.getvalue())
            for _ in range(300):
                member.write(bytes(1 << 20))
        file.writestr("small.npy", npy(np.arange(3)))
    assert path.stat().st_size < 2 << 20
    with open_npz(path) as entries:
        np.testing.assert_array_equal(entries["small"].read(), [0, 1, 2])
        with pytest.raises(UserError, match=r"bomb\.npz: bomb\.npy would have 314572928 bytes"):
            entries["bomb"].read()


@pytest.mark.parametrize("order", ["<", ">"])
def test_numbers_that_are_no_characters_are_no_text(tmp_path, order):
    """One flipped bit of a saved network; NumPy's text of them cannot be pickled, for one."""
    codes = np.array([ord("a"), ord("é"), 0], f"{order}u4")
    np.savez(tmp_path / "x.npz", right=codes.view(f"{order}U3").reshape(()))
    with open_npz(tmp_path / "x.npz") as entries:
        assert entries["right"].text(3) == "aé"
    for code in (0x400065, 0xD800):
        codes[1] = code
        np.savez(tmp_path / "x.npz", wrong=codes.view(f"{order}U3").reshape(()))
        with open_npz(tmp_path / "x.npz") as entries, pytest.raises(ValueError, match="codec"):
            entries["wrong"].text(3)
