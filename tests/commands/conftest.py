"""The commands as a user types them, in processes of their own, on a tiny CamVid folder."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.camvid import CLASSES
from tests.support.typed import train

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="package")
def home(tmp_path_factory):
    """A folder with a CamVid of 4 + 2 frames, 24x20 pixels: sky above road, a void corner."""
    home = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for folder in (split, f"{split}annot"):
            (home / "CamVid" / folder).mkdir(parents=True)
        for index in range(count):
            horizon = rng.integers(6, 14)
            label = np.full((20, 24), 3, np.uint8)
            label[:horizon] = 0
            label[0, :3] = CLASSES.void
            image = rng.integers(0, 60, (20, 24, 3), np.uint8)
            image[:horizon] += 180
            Image.fromarray(image).save(home / "CamVid" / split / f"frame{index}.png")
            Image.fromarray(label).save(home / "CamVid" / f"{split}annot" / f"frame{index}.png")
    return home


@pytest.fixture(scope="package")
def run(home, request):
    """`run(command, *flags, encoding=...)` -> the finished process.

    The encoding is that of its terminal; the compilation cache is the suite's.
    """
    compiled = request.config.cache.mkdir("jax")

    def run(command, *flags, encoding="utf-8"):
        return subprocess.run(
            [sys.executable, "-m", f"experiments.{command}", *flags],
            cwd=ROOT,
            env={
                **{k: v for k, v in os.environ.items() if k != "RESEG_DATA"},
                "RESEG_CACHE": str(home / "cache"),
                "JAX_COMPILATION_CACHE_DIR": str(compiled),
                "JAX_PLATFORMS": "cpu",
                "PYTHONIOENCODING": encoding,
                # Set: no second start for huge pages, which takes two seconds.
                "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0",
            },
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="package")
def trained(run, home):
    """(workdir, what train printed)."""
    finished = train(run, home, home / "run", "--epochs=2")
    assert finished.returncode == 0, finished.stderr
    return home / "run", finished
