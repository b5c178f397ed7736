"""Every device at work: CPU cores and GPUs alike form a row, and sweeps divide over it.

XLA computes the small work of a step on one core of a CPU while the others wait. Cores that are
devices of their own, with a share of the lines each, do not wait; several GPUs divide the lines
in the same way. Without `use_all` (or any `jax.set_mesh` of such a row) all is on one device.

Dimension key: `T` steps, `B` images, `L` lines of an image, `D` features.
"""

import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

AXIS = "devices"


def use_all() -> None:
    """From now on, divide sweeps over all devices; each CPU core becomes one.

    For a command's start: the number of CPU devices cannot change once JAX has computed.
    """
    if not os.environ.get("JAX_NUM_CPU_DEVICES"):
        linux = hasattr(os, "sched_getaffinity")  # the cores that this process may use
        jax.config.update(
            "jax_num_cpu_devices", len(os.sched_getaffinity(0)) if linux else os.cpu_count()
        )
    jax.set_mesh(row())


def row() -> jax.sharding.Mesh:
    """All devices, in a row: what `jax.set_mesh` takes."""
    return jax.make_mesh((jax.device_count(),), (AXIS,), axis_types=(AxisType.Auto,))


def _count():
    """Devices to divide work over, here: one where no row is set, and inside a division."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.manual_axes else mesh.shape.get(AXIS, 1)


def over_lines(function: Callable, params, lines) -> jax.Array:
    """`function(params, lines [T, B, L, ...]) -> [T, B, L, ...]`, divided over the devices.

    lines: an array, or a tree of such with the same images and lines. Images go to devices where
    they divide evenly, else the lines of each image do, padded with zeros to a number that divides
    and cropped afterwards. Lines do not see each other, so the result is that of one device.
    """
    count = _count()
    if count == 1:
        return function(params, lines)
    _, images, length, *_ = jax.tree.leaves(lines)[0].shape
    if images % count == 0:
        split = PartitionSpec(None, AXIS)
    else:
        split = PartitionSpec(None, None, AXIS)
        lines = jax.tree.map(lambda x: _padded(x, 2, -length % count), lines)
    # `check_vma` would want the parameters marked as varying before the hand-written gradient.
    divided = jax.shard_map(
        function, in_specs=(PartitionSpec(), split), out_specs=split, check_vma=False
    )
    return divided(params, lines)[:, :, :length]


def _padded(x, axis, more):
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, more)
    return jnp.pad(x, widths)


def spread(images: jax.Array) -> jax.Array:
    """The same [B, H, W, C], divided over the devices: by images, else rows, else columns.

    The first of them that divides evenly; what follows (convolutions, upsampling) is then divided
    in the same way by XLA's partitioner. Where none does, every device has all.
    """
    count = _count()
    for axis in range(3) if count > 1 else ():
        if images.shape[axis] % count == 0:
            split = PartitionSpec(*[None] * axis, AXIS)
            return jax.lax.with_sharding_constraint(images, split)
    return images


def everywhere(tree):
    """The arrays of `tree`, each whole on every device, which is where training wants its state."""
    if _count() == 1:
        return jax.tree.map(jnp.asarray, tree)
    return jax.device_put(tree, NamedSharding(jax.sharding.get_mesh(), PartitionSpec()))
