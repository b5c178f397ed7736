"""What XLA compiles, kept: on the disk for other processes, and in this one for other sizes."""

import functools
import os

import jax

from reseg_jax.files.download import cache_dir
from reseg_jax.networks.base import NetworkConfig
from reseg_jax.padding import CommonSizes

OPT_OUT = "RESEG_COMPILATION_CACHE"
"""The environment variable that leaves JAX's compilation cache as it is, if it is "off"."""


def keep_on_disk() -> None:
    """From now on, programs that take a second and more to compile are kept for other processes.

    They lie in `compiled` in the cache (`reseg_jax.files.download.cache_dir`), and JAX looks after
    them. A cache that is already chosen, by JAX_COMPILATION_CACHE_DIR or `jax.config`, is left as
    it is; RESEG_COMPILATION_CACHE=off leaves out ours.
    """
    if jax.config.jax_compilation_cache_dir is None and os.environ.get(OPT_OUT) != "off":
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "compiled"))


@functools.cache
def common_sizes(config: NetworkConfig, images: int) -> CommonSizes:
    """The padded sizes for which a network is compiled in this process.

    Args:
      config: the network.
      images: B, of the arrays.
    """
    return CommonSizes(config.exact_padding)
