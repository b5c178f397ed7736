"""What the campaign damages: small datasets, weights, a run and a cache of features."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from data.camvid import CLASSES
from experiments.faults.forked import Forked
from reseg_jax.backbones.readers import KERNEL_SHAPES

TINY = (
    *("--set=patch_sizes=[[2,2]]", "--set=units=[4]", "--set=upsample_sizes=[[2,2]]"),
    *("--set=upsample_channels=[4]", "--set=dropout=0.25", "--batch_size=2"),
)
"""The smallest ReSeg: what is tried is how it is kept, not what it learns."""

HEIGHT, WIDTH, CELL = 20, 24, 4  # pixels of an image, and of the squares of one class in it
EPOCHS = 3


class Materials:
    """The files, below a folder.

    Attributes:
      root: the folder.
      camvid: a folder that holds CamVid/, of 4 + 2 images.
      own: images/, labels/ and classes.json of 5 images.
      weights: of the first layer of a VGG-16.
      workdir: of a finished training on `camvid`.
      cached: of another, over the VGG-16.
      cache: its features.
    """

    def __init__(self, root: Path):
        self.root = root
        self.camvid, self.own = root / "data", root / "own"
        self.workdir, self.cached, self.cache = root / "run", root / "cached", root / "features"
        self.weights = root / "vgg.npz"
        write_camvid(self.camvid)
        write_own(self.own)
        write_weights(self.weights)

    def configure(self) -> None:
        """Have JAX compute in this process, and in its forks, as in commands of `environment`."""
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_disable_most_optimizations", True)
        jax.config.update("jax_compilation_cache_dir", str(self.root / "cache" / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)

    def environment(self) -> dict[str, str]:
        """Of commands: a cache of their own, no dataset at hand."""
        return {
            **{name: value for name, value in os.environ.items() if name != "RESEG_DATA"},
            "RESEG_CACHE": str(self.root / "cache"),
            "JAX_PLATFORMS": "cpu",
            # What is tried are files: nearly all of the time would go into compiling.
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            # Set: no second start for huge pages, which takes two seconds.
            "GLIBC_TUNABLES": "glibc.malloc.hugetlb=0",
        }

    def flags(self, workdir: Path) -> tuple[str, ...]:
        """Of the training that saves after every update."""
        return (
            *("--preset=camvid_no_vgg", f"--data_dir={self.camvid}", f"--workdir={workdir}"),
            *(*TINY, f"--epochs={EPOCHS}", "--save_minutes=0", "--pictures=1"),
        )

    def cached_flags(self, workdir: Path, cache: Path) -> tuple[str, ...]:
        """Of the training over features of a VGG-16's first layer, which are kept."""
        return (
            *("--preset=camvid", f"--data_dir={self.camvid}", f"--workdir={workdir}", *TINY),
            *(f"--vgg_weights={self.weights}", "--set=tap=conv1_1", f"--cache_dir={cache}"),
            *(f"--epochs={EPOCHS}", "--pictures=0"),
        )

    def train(self, command: Forked) -> None:
        """Make `workdir`, `cached` and `cache`, by `experiments.train`."""
        for flags in (self.flags(self.workdir), self.cached_flags(self.cached, self.cache)):
            finished = command(*flags)
            if finished.returncode:
                raise RuntimeError(f"a training without any fault failed: {finished.stderr}")


def scenes(count: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """(image, label) pairs: squares of all CamVid's classes in their colors, with noise."""
    rng, found = np.random.default_rng(seed), []
    cells = HEIGHT // CELL * WIDTH // CELL
    for _ in range(count):
        order = rng.permutation(np.arange(cells) % len(CLASSES.names))
        order = order.reshape(HEIGHT // CELL, WIDTH // CELL)
        label = np.kron(order, np.ones((CELL, CELL), int)).astype(np.uint8)
        noise = rng.integers(-20, 20, (HEIGHT, WIDTH, 3))
        image = np.clip(np.array(CLASSES.palette)[label] + noise, 0, 255).astype(np.uint8)
        label[0, :3] = CLASSES.void
        found.append((image, label))
    return found


def write_camvid(folder: Path) -> None:
    """A CamVid of 4 + 2 images, as PNG, in `folder`/CamVid."""
    for split, count in (("train", 4), ("val", 2)):
        for index, pair in enumerate(scenes(count, seed=count)):
            for subfolder, array in zip((split, f"{split}annot"), pair, strict=True):
                path = folder / "CamVid" / subfolder / f"frame{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)


def write_own(folder: Path, kinds: Sequence[str] = ("gray",) * 5) -> None:
    """A dataset as people have them: JPEG photos, masks of indices, a table of classes.

    Args:
      folder: of images/, labels/ and classes.json.
      kinds: of the masks, one each: "gray", "palette" or "color".
    """
    for subfolder in ("images", "labels"):
        (folder / subfolder).mkdir(parents=True)
    for index, ((image, label), kind) in enumerate(zip(scenes(len(kinds)), kinds, strict=True)):
        Image.fromarray(image).save(folder / "images" / f"photo{index}.jpg", quality=90)
        label[label == CLASSES.void] = 0
        mask = Image.fromarray(label)
        if kind == "palette":
            mask.putpalette(np.array(CLASSES.palette, np.uint8).tobytes())
        elif kind == "color":
            mask = Image.fromarray(np.array(CLASSES.palette, np.uint8)[label])
        mask.save(folder / "labels" / f"photo{index}.png")
    table = {"names": CLASSES.names, "palette": CLASSES.palette}
    (folder / "classes.json").write_text(json.dumps(table))


def first_layer() -> dict[str, np.ndarray]:
    """Random numbers for the first layer of a VGG-16, by the names of its files."""
    rng, shape = np.random.default_rng(0), KERNEL_SHAPES["conv1_1"]
    return {
        "conv1_1/kernel": rng.normal(0, 0.1, shape).astype(np.float32),
        "conv1_1/bias": np.zeros(shape[-1], np.float32),
    }


def write_weights(path: Path) -> None:
    """A file of VGG-16's weights with the first layer only."""
    np.savez(path, **first_layer())


def sha256(content: bytes) -> str:
    """The digest, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()
