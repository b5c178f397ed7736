"""HDF5 files of weights: a right one, and such as were made to do harm. The writer of HDF5 here."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from experiments.faults.materials import first_layer

_GROUP = "block1_conv1/block1_conv1"  # as Keras 2 calls it
_KERNEL = (3, 3, 3, 64)


def write(path: Path, fill: Callable | None = None) -> None:
    """The first layer of a VGG-16, as Keras writes it.

    Args:
      path: the file.
      fill: what makes the kernel in place of the right one: (group, folder) -> None.
    """
    arrays = first_layer()
    with h5py.File(path, "w") as file:
        group = file.create_group(_GROUP)
        group["bias:0"] = arrays["conv1_1/bias"]
        if fill:
            fill(group, path.parent)
        else:
            group["kernel:0"] = arrays["conv1_1/kernel"]


def _external(group, folder):
    (folder / "secret").write_bytes(bytes(4 * 1728))
    external = [(str(folder / "secret"), 0, 4 * 1728)]
    group.create_dataset("kernel:0", _KERNEL, "f4", external=external)


def _virtual(group, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.zeros(_KERNEL, "f4")
    layout = h5py.VirtualLayout(_KERNEL, "f4")
    layout[...] = h5py.VirtualSource(folder / "other.h5", "x", _KERNEL)
    group.create_virtual_dataset("kernel:0", layout)


def _linked(group, folder):
    with h5py.File(folder / "other.h5", "w") as other:
        other["x"] = np.zeros(_KERNEL, "f4")
    group["kernel:0"] = h5py.ExternalLink(str(folder / "other.h5"), "x")


def _soft(group, folder):
    group["kernel:0"] = h5py.SoftLink("/block1_conv1")


def _unwritten(group, folder):
    group.create_dataset("kernel:0", (1 << 30,), "f4", chunks=(1 << 20,))


def _one_chunk(group, folder):
    group.create_dataset(
        "kernel:0", _KERNEL, "f4", chunks=(1 << 10, 1 << 10, 8, 64), maxshape=(None,) * 4
    )


HOSTILE = {
    "HDF5 with its numbers in another file": _external,
    "HDF5 of other files": _virtual,
    "HDF5 with a link to another file": _linked,
    "HDF5 with a link in a circle": _soft,
    "HDF5 of 4 GiB that were never written": _unwritten,
    "HDF5 with a chunk of 2 GiB": _one_chunk,
}
"""What makes the kernel of a hostile file, by name."""
