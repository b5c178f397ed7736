"""All devices in use: CPU cores or GPUs form a row, and sweeps are divided over it.

XLA computes the small work of a step on one core of a CPU while the others wait. Cores that are
separate devices, with a share of the lines each, do not wait; several GPUs divide the lines in the
same way. Without `use_all` (or any `jax.set_mesh` of such a row) everything is on one device.

Dimension key: `T` steps, `B` images, `L` lines of an image, `D` features.
"""

import contextlib
import os
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

AXIS = "devices"


def use_all() -> None:
    """From now on, divide sweeps over all devices; each CPU core becomes one.

    For the start of a command: the number of CPU devices cannot change once JAX has computed. The
    environment variable JAX_NUM_CPU_DEVICES, if set, gives their number.
    """
    if not os.environ.get("JAX_NUM_CPU_DEVICES"):
        jax.config.update("jax_num_cpu_devices", cores())
    jax.set_mesh(row())


def cores() -> int:
    """CPU cores that this process may use."""
    linux = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1


def cores_per_device() -> float:
    """CPU cores that a device has: 1 after `use_all`, all of them without, or beside a GPU."""
    return cores() / (jax.local_device_count() if jax.default_backend() == "cpu" else 1)


def row() -> jax.sharding.Mesh:
    """All devices in one axis `AXIS`: a mesh for `jax.set_mesh`."""
    return jax.make_mesh((jax.device_count(),), (AXIS,), axis_types=(AxisType.Auto,))


@contextlib.contextmanager
def only_first() -> Iterator[jax.Device]:
    """Within it nothing is divided; gives the device that arrays must be put on.

    For a program beside those of another thread: see `can_queue`.
    """
    device = jax.local_devices()[0]
    with jax.set_mesh(jax.make_mesh((1,), (AXIS,), axis_types=(AxisType.Auto,), devices=[device])):
        yield device


def can_queue() -> bool:
    """Whether a program may wait at the devices for the one before it: not on a CPU.

    Of two programs in flight that are divided over CPU devices, each may hold a device and wait for
    the other one for ever (seen in jaxlib 0.10.2, with programs from two threads). There is nothing
    to gain either: the host that would not have to wait is the device.
    """
    return jax.default_backend() != "cpu"


def describe() -> str:
    """What arrays are computed on, as "2 x cpu"."""
    mesh = jax.sharding.get_mesh()
    devices = jax.devices()[:1] if mesh.empty else list(mesh.devices.flat)
    return f"{len(devices)} x {devices[0].device_kind}"


def _count():
    """Devices to divide work over: one if no row is set, or if the work is already divided."""
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.manual_axes else mesh.shape.get(AXIS, 1)


def over_lines(function: Callable, params, lines) -> jax.Array:
    """`function(params, lines)` divided over the devices.

    Images are divided if their number is a multiple of the devices', otherwise the lines of each
    image, padded with zeros to such a multiple and cropped afterwards. Lines do not see each other,
    so the result is that of one device.

    Args:
      function: `(params, lines [T, B, L, ...]) -> [T, B, L, ...]`.
      params: a tree, whole on every device.
      lines: [T, B, L, ...], or a tree of such with the same B and L.

    Returns:
      [T, B, L, ...].
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
    # `check_vma` would require marking the parameters as varying before our custom gradient.
    divided = jax.shard_map(
        function, in_specs=(PartitionSpec(), split), out_specs=split, check_vma=False
    )
    return divided(params, lines)[:, :, :length]


def over_rows(
    function: Callable, params, images: tuple[jax.Array, ...], *, per_row: int = 1, total=False
) -> jax.Array:
    """`function(params, images, above, below)` divided over the devices, each with some rows.

    Images are divided if their number is a multiple of the devices', otherwise the rows of each
    image, padded with zeros to such a multiple and cropped afterwards.

    Args:
      function: it gets its share of the images, and of the first of them the row [B, 1, W, C]
        before the share's first one and the one after its last one: zeros where the image ends,
        None if the share is of whole images. It returns [B, H / per_row, W', C'].
      params: a tree, whole on every device.
      images: arrays [B, H, W, C] of the same B and H.
      per_row: rows of an image for a row of the result; they stay on one device.
      total: the result is of any shape, and the sum of all devices' is returned.

    Returns:
      [B, floor(H / per_row), W', C'], or the sum.
    """
    count = _count()
    if count == 1:
        return function(params, images, None, None)
    batch, height = images[0].shape[:2]
    of_images = batch % count == 0
    if not of_images:
        more = -height % (count * per_row)
        images = tuple(_padded(image, 1, more) for image in images)

    def share(params, images):
        above = below = None
        if not of_images:
            first = images[0]
            above = _passed_on(first[:, -1:], count, 1)
            below = _passed_on(first[:, :1], count, -1)
        found = function(params, images, above, below)
        return jax.lax.psum(found, AXIS) if total else found

    split = PartitionSpec(AXIS) if of_images else PartitionSpec(None, AXIS)
    divided = jax.shard_map(
        share,
        in_specs=(PartitionSpec(), split),
        out_specs=PartitionSpec() if total else split,
        check_vma=False,  # as above
    )
    found = divided(params, images)
    return found if total or of_images else found[:, : height // per_row]


def _passed_on(x, count, step):
    """The array of the device `step` places before; zeros if there is none."""
    return jax.lax.ppermute(x, AXIS, [(i, i + step) for i in range(count) if 0 <= i + step < count])


def _padded(x, axis, more):
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, more)
    return jnp.pad(x, widths)


def spread(images: jax.Array) -> jax.Array:
    """The same array, divided over the devices: by images, rows or columns.

    XLA's partitioner then divides what follows (convolutions, upsampling) in the same way.

    Args:
      images: [B, H, W, C].

    Returns:
      [B, H, W, C], divided along the first of B, H, W that divides evenly; if none does, every
      device has all of it.
    """
    count = _count()
    for axis in range(3) if count > 1 else ():
        if images.shape[axis] % count == 0:
            split = PartitionSpec(*[None] * axis, AXIS)
            return jax.lax.with_sharding_constraint(images, split)
    return images


def everywhere(tree):
    """The arrays of `tree`, each whole on every device, as training keeps its state."""
    if _count() == 1:
        return jax.device_put(tree)
    return jax.device_put(tree, NamedSharding(jax.sharding.get_mesh(), PartitionSpec()))
