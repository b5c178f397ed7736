"""The commands as a user types them, in processes of their own, on a tiny CamVid folder."""

import contextlib
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from data.camvid import CLASSES
from experiments.faults.forked import ROOT, Forked
from tests.support.typed import train


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
def environment(home, request) -> dict[str, str]:
    """Of commands: a cache of their own, the suite's compiled programs, no dataset at hand."""
    return {
        **{name: value for name, value in os.environ.items() if name != "RESEG_DATA"},
        "RESEG_CACHE": str(home / "cache"),
        "JAX_COMPILATION_CACHE_DIR": str(request.config.cache.mkdir("jax")),
        "JAX_PLATFORMS": "cpu",
        # Set: no second start for huge pages, which takes two seconds.
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0",
    }


@pytest.fixture(scope="package")
def started(environment):
    """`started(command, *flags)` -> the process, to send signals to."""

    def started(command, *flags):
        return subprocess.Popen(
            [sys.executable, "-m", f"experiments.{command}", *flags],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return started


@pytest.fixture(scope="package")
def run(environment):
    """`run(command, *flags, encoding=...)` -> the finished process, a terminal of that encoding."""
    commands = {}
    with contextlib.ExitStack() as stack:

        def run(name, *flags, encoding="utf-8"):
            if (name, encoding) not in commands:
                command = Forked(name, environment | {"PYTHONIOENCODING": encoding})
                commands[name, encoding] = stack.enter_context(command)
            return commands[name, encoding](*flags)

        yield run


@pytest.fixture(scope="package")
def trained(run, home):
    """(workdir, what train printed)."""
    finished = train(run, home, home / "run", "--epochs=2")
    assert finished.returncode == 0, finished.stderr
    return home / "run", finished
