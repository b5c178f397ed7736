"""Whether an image fits into the memory that is free, asked before it is computed.

On a CPU the system ends a process that takes more than there is, and a thread of XLA's that gets
none ends it as well: without a word in both cases.

Dimension key: `B H W` image axes.
"""

import math
import resource
from collections.abc import Callable, Sequence
from pathlib import Path

import jax

from reseg_jax.errors import UserError

_SURELY_FITS = 8192
# Bytes per pixel, a few times what the networks here take at their widest: U-Net's whole network
# two thousand, the packaged ReSeg 700. Below it nothing is compiled to find out.

_BESIDE = 1.5
# What a process takes is up to 1.35 times what XLA plans (the packaged head, 480x360 to 4000x3000,
# one and two devices): convolutions have scratch of their own, and what is freed is kept a while.

PICTURE = 24
"""Bytes per pixel of the image at its own size, whatever it is computed at: its strips, labels and
pictures (`experiments.predict` of a JPEG of 8000x6000 takes 18)."""

_SURE = 0.8  # of the largest scale that fits is named: what is free changes from call to call

_TILE = 512
# The largest tile that is named: our choice, about the frames that networks here are trained on.

_TILES = 64  # what the side of that tile is a multiple of: any network's stride

_GROUP = Path("/sys/fs/cgroup")  # where Linux says what a container may take


class DoesNotFit(UserError):
    """An image is too large for the memory that is free."""


def free_memory() -> float:
    """Bytes that this process may still take: of the machine, its container and `ulimit -v`."""
    return min(_of_the_machine(), _of_the_group(), _of_the_process())


def check_fits(
    shape: tuple[int, int, int],
    scale: float,
    compiled: Callable[[], Sequence[jax.stages.Compiled]],
) -> None:
    """Checks that images can be computed; on a GPU XLA itself says what is wrong.

    Args:
      shape: (B, H, W) of the images.
      scale: by which they are enlarged before the network sees them.
      compiled: gives the programs that compute them at this scale, in their order; each keeps what
        the one before gave.

    Raises:
      DoesNotFit: with the tiles and the scale that fit.
    """
    pixels, free = math.prod(shape), free_memory()
    if jax.default_backend() != "cpu" or pixels * (_SURELY_FITS * scale**2 + PICTURE) < free:
        return
    needed, rest = _BESIDE * _planned(compiled()), free - PICTURE * pixels
    if needed <= rest:
        return
    shrink = _SURE * math.sqrt(max(0, rest) / needed)
    smaller = math.floor(100 * scale * shrink) / 100
    tile = min(_TILE, int(shrink * math.sqrt(shape[1] * shape[2])) // _TILES * _TILES)
    ways = [f"tiles, --tile={tile} fits"] if tile else []
    ways += [f"a smaller scale, --scales={smaller:g} fits"] if smaller else []
    raise DoesNotFit(
        f"{shape[2]}x{shape[1]} pixels{f' at scale {scale:g}' if scale != 1 else ''} need about "
        f"{(needed + PICTURE * pixels) / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free: "
        + (f"give {', or '.join(ways)}" if ways else "make the image smaller")
        + " (in Python reseg_jax.inference.sliding, or Views(scales=...)); masks keep the image's "
        "size"
    )


def _planned(programs):
    """The most bytes that XLA plans for at a time, beside the variables."""
    kept, most = 0, 0
    for program in programs:
        plan = program.memory_analysis()
        kept += plan.output_size_in_bytes
        most = max(most, kept + plan.temp_size_in_bytes)
    # Devices, whose plans are for a share each, are cores with one memory together.
    return most * math.prod(jax.sharding.get_abstract_mesh().shape.values())


def _of_the_machine():
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvail"))
    except (OSError, StopIteration, ValueError):  # no Linux
        return math.inf


def _of_the_group():
    """Of a container: cgroup's limit less what is in use and is no file that can be dropped."""
    for limit, used, dropped in (
        ("memory.max", "memory.current", "inactive_file"),  # version 2
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most, now = (int((_GROUP / name).read_text()) for name in (limit, used))
            lines = (_GROUP / limit).with_name("memory.stat").read_text().splitlines()
        except (OSError, ValueError):  # another version, or "max"
            continue
        return most - now + sum(int(n) for key, n in map(str.split, lines) if key == dropped)
    return math.inf


def _of_the_process():
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    try:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return math.inf
    return math.inf if most == resource.RLIM_INFINITY else most - used
