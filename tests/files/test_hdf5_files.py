"""HDF5: arrays that lie in the file come back, and nothing else of the machine does."""

import h5py
import numpy as np
import pytest

from reseg_jax.backbones import readers
from reseg_jax.errors import UserError
from reseg_jax.files.hdf5_files import open_hdf5

BIAS = "block1_conv1/block1_conv1/bias:0"
KERNEL = "block1_conv1/block1_conv1/kernel:0"
NUMBERS = np.arange(64, dtype="f4")


def read(path):
    with open_hdf5(path, "model_weights") as entries:
        return {name: entry.read() for name, entry in entries.items()}


@pytest.mark.parametrize("group", ["", "model_weights/"])
def test_arrays_come_back_by_their_names(tmp_path, group):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file[f"{group}a/b/c"] = NUMBERS
        file.create_dataset(f"{group}chunks", data=NUMBERS, chunks=(10,), maxshape=(None,))
    found = read(tmp_path / "a.h5")
    assert found.keys() == {"a/b/c", "chunks"}
    for array in found.values():
        np.testing.assert_array_equal(array, NUMBERS, strict=True)


def external_storage(file, folder):
    (folder / "secret").write_bytes(NUMBERS.tobytes())
    file.create_dataset(BIAS, (64,), "f4", external=[(str(folder / "secret"), 0, 256)])


def virtual(file, folder):
    with h5py.File(folder / "secret", "w") as other:
        other["x"] = NUMBERS
    layout = h5py.VirtualLayout((64,), "f4")
    layout[:] = h5py.VirtualSource(folder / "secret", "x", (64,))
    file.create_virtual_dataset(BIAS, layout)


def external_link(file, folder):
    with h5py.File(folder / "secret", "w") as other:
        other["x"] = NUMBERS
    file[BIAS] = h5py.ExternalLink(folder / "secret", "x")


def soft_link(file, _):
    file["elsewhere"] = NUMBERS
    file[BIAS] = h5py.SoftLink("/elsewhere")


def circle(file, _):
    file["model_weights"] = h5py.SoftLink("/model_weights")


def link_to_all(file, folder):
    external_storage(file, folder)
    file["model_weights"] = h5py.ExternalLink(folder / "other", "/")


def unallocated(file, _):
    file.create_dataset(BIAS, (64,), "f4")


def unallocated_chunks(file, _):
    file.create_dataset(BIAS, (64,), "f4", chunks=(1 << 28,), maxshape=(None,))


def too_deep(file, _):
    file[f"{'a/' * 20}{BIAS}"] = NUMBERS


@pytest.mark.parametrize(
    "write",
    [
        *(external_storage, virtual, external_link, soft_link, circle, link_to_all),
        *(unallocated, unallocated_chunks, too_deep),
    ],
)
def test_what_is_not_in_the_file_is_refused(tmp_path, write):
    with h5py.File(tmp_path / "vgg.h5", "w") as file:
        write(file, tmp_path)
    with pytest.raises(UserError, match=r"vgg\.h5 is damaged"):
        readers.load_vgg(tmp_path / "vgg.h5")


def test_an_enormous_array_is_refused_by_its_shape(tmp_path):
    with h5py.File(tmp_path / "vgg.h5", "w") as file:
        file.create_dataset(KERNEL, (3, 3, 3, 1 << 30), "f4", chunks=(3, 3, 3, 1 << 10))
    with pytest.raises(UserError, match=r"conv1_1/kernel of shape \(3, 3, 3, 1073741824\)"):
        readers.load_vgg(tmp_path / "vgg.h5")


def test_what_is_compressed_is_refused_with_a_way_out(tmp_path):
    with h5py.File(tmp_path / "vgg.h5", "w") as file:
        file.create_dataset(BIAS, data=NUMBERS, compression="gzip")
    with pytest.raises(UserError, match=r"vgg\.h5 has .*bias:0 compressed: unpack it"):
        readers.load_vgg(tmp_path / "vgg.h5")


def test_a_group_that_holds_itself_is_read_once(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = NUMBERS
        for name in "bcdefg":
            file[name] = file["/"]
    assert read(tmp_path / "a.h5").keys() == {"x"}
