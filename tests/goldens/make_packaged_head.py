"""Makes packaged_head.npz: the packaged CamVid head's logits on one picture, with what made them.

  python -m tests.goldens.make_packaged_head VGG_WEIGHTS

Run at commit 2602248, before the library was cut into folders.
"""

import platform
import sys
from pathlib import Path

import jax
import numpy as np

import reseg_jax
from tests import conftest  # noqa: F401  (the suite's compiler settings decide the last bits)


def picture() -> np.ndarray:
    """uint8 [24, 32, 3]: smooth shading with noise, reproducible anywhere."""
    rows, columns = np.mgrid[:24, :32]
    shading = np.stack([8 * rows, 6 * columns, 255 - 4 * (rows + columns)], axis=-1)
    noise = np.random.default_rng(0).integers(0, 32, shading.shape)
    return np.clip(shading + noise, 0, 255).astype(np.uint8)


def logits(vgg_weights) -> np.ndarray:
    """float32 [24, 32, 11]."""
    config, variables = reseg_jax.load("camvid", vgg_weights=vgg_weights)
    return np.asarray(reseg_jax.apply(config, variables, picture()[None]))[0]


def made_on() -> str:
    """Where the last bits are the same: versions and processor."""
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        models = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return f"jax {jax.__version__}, {platform.machine()}, {models[0]}"


if __name__ == "__main__":
    path = Path(__file__).with_name("packaged_head.npz")
    np.savez_compressed(path, logits=logits(sys.argv[1]), made_on=made_on())
