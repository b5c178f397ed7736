"""What the times are of: the machine, its versions, and how fast it can be."""

import importlib.metadata
import os
import platform

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench import programs
from reseg_jax.training.provenance import cores, processor

# Side of the matrices of the peak: large enough for it, 50 MB in float32.
SIDE = 2048
# Bytes of the array that is copied for the bandwidth: beyond any cache.
COPIED = 2**28


def describe() -> dict:
    """Names, versions and settings, for the result file."""
    packages = ("jax", "jaxlib", "flax", "numpy", "torch")
    return {
        "processor": processor(),
        "cores": cores(),
        "load at the start": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "devices": [str(device.device_kind) for device in jax.devices()],
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
        "GLIBC_TUNABLES": os.environ.get("GLIBC_TUNABLES"),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS"),
        "matmul_precision": jax.config.jax_default_matmul_precision,
    }


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def memory() -> int:
    """Bytes that a program may use: the accelerator's, or the machine's."""
    stats = jax.devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def matmul_rate(repeats: int = 5) -> float:
    """FLOP/s of a float32 product of two SIDE x SIDE matrices, the best of `repeats` runs.

    On CPUs also of NumPy's, whose library of matrix products is often faster than XLA's.
    """
    square = np.random.default_rng(0).standard_normal((SIDE, SIDE), np.float32)
    rivals = [_on_one(jnp.matmul, square, square)]
    if jax.default_backend() == "cpu":
        rivals.append(programs.eager(np.matmul, square, square))
    return 2 * SIDE**3 / min(rival.run() for rival in rivals for _ in range(repeats))


def copy_rate(repeats: int = 5) -> float:
    """Bytes/s read and written by an addition over an array of COPIED bytes; the best."""
    program = _on_one(lambda x: x + 1, np.zeros(COPIED // 4, np.float32))
    return 2 * COPIED / min(program.run() for _ in range(repeats))


def _on_one(function, *arguments):
    return programs.confined_to_one_device(
        lambda: programs.compiled(function, *programs.on_one(arguments))
    )
