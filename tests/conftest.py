"""Settings and fixtures of the whole suite.

Strict promotion of dtypes turns silent float64s into errors.
Full-precision products make the tolerances hold on an accelerator too.
Two CPU devices are enough to divide sweeps over; what sets no mesh runs on the first alone.
If only values count, a compiler that does not optimize saves half of the suite's time and more; the
README's first command and the short run on real frames, both in CI, are compiled as users' are.
"""

import ctypes
import os
import pathlib
import sys

import jax
import pytest

from reseg_jax import devices

QUICK_COMPILER = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_disable_most_optimizations", True)
if jax.__version__.startswith("0.10."):  # XLA ends the process at a flag that it does not know
    # XLA's newer generator of code for loops takes three times as long as the one before it.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK_COMPILER}".strip()
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # read by commands that tests start
jax.config.update("jax_num_cpu_devices", 2)  # possible only before the first computation

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


def pytest_configure(config):
    """Compiled programs are kept beside pytest's own cache: a second run compiles nothing."""
    if hasattr(config, "cache"):
        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


@pytest.fixture(scope="module", autouse=True)
def _memory_is_given_back():
    """After each file its programs go, and glibc's free pages: a worker had come to 7.5 GB."""
    yield
    jax.clear_caches()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


@pytest.fixture
def key():
    return jax.random.key(0)


@pytest.fixture
def row() -> jax.sharding.Mesh:
    """Two devices, to be set with `jax.set_mesh`."""
    if jax.device_count() != 2:
        pytest.skip(f"{jax.device_count()} devices: set JAX_PLATFORMS=cpu to have two")
    return devices.row()


@pytest.fixture
def no_data_at_hand(monkeypatch, tmp_path):
    """Neither this machine's data nor its cache: a test that downloads must say from where."""
    monkeypatch.delenv("RESEG_DATA", raising=False)
    monkeypatch.setenv("RESEG_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def real_data() -> pathlib.Path:
    """The folder of the real data sets: $RESEG_DATA, or shared/datasets beside the checkout."""
    folder = pathlib.Path(os.environ.get("RESEG_DATA") or SHARED / "datasets")
    if not folder.is_dir():
        pytest.skip(f"no real data: neither RESEG_DATA nor {folder} is a folder")
    return folder


@pytest.fixture(scope="session")
def vgg_weights_path() -> pathlib.Path:
    """ImageNet VGG-16, conv1_1 to conv3_3, from shared/weights beside the checkout."""
    path = SHARED / "weights" / "vgg16_imagenet_conv1_1-conv3_3.npz"
    if not path.is_file():
        pytest.skip(f"no real VGG weights: {path} is not there")
    return path
