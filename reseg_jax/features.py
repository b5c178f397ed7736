"""Features of a frozen VGG, computed once and memory-mapped afterwards.

The output of a frozen network is a constant of the image, so an epoch need not compute it
again. One `.npy` file a distinct image, named by what the features depend on: a folder for
the weights, layer, preprocessing and number format, a file for the image's content. Whatever
changes one of them finds another file; runs over the same images share theirs.

Dimension key: `H W` image axes, `I J` cells of the feature map, `C` channels.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import jax
import numpy as np

from reseg_jax import files
from reseg_jax.config import ReSegConfig
from reseg_jax.errors import UserError
from reseg_jax.model import features


class FeatureCache:
    """Features of images under one frozen network, kept below `directory`."""

    def __init__(
        self, config: ReSegConfig, variables: dict, directory: Path, dtype: str = "float16"
    ):
        self.config, self.variables = config, variables
        self.dtype = np.dtype(dtype)
        self.directory = Path(directory) / _network_key(config, variables, dtype)

    def path(self, image: np.ndarray) -> Path:
        """Where the features of `image` [H, W, 3] uint8 are kept."""
        shape = str(image.shape).encode()
        digest = hashlib.sha256(shape + np.ascontiguousarray(image).data).hexdigest()
        return self.directory / f"{digest}.npy"

    def read(self, image: np.ndarray) -> np.ndarray:
        """The features [I, J, C] of `image`, memory-mapped; computed first where missing."""
        path = self.path(image)
        if not path.exists():
            self._compute(image, path)
        return np.load(path, mmap_mode="r")

    def missing(self, images: Iterable[np.ndarray]) -> list[np.ndarray]:
        """Those of `images` whose features are not there yet, each once."""
        return list(
            {path: image for image in images if not (path := self.path(image)).exists()}.values()
        )

    def _compute(self, image, path):
        computed = features(self.config, self.variables, image[None])[0]
        with np.errstate(over="ignore"):
            stored = np.asarray(computed).astype(self.dtype)
        if not np.isfinite(stored).all():
            raise UserError(
                f"features of {self.config.vgg_layer} do not fit {self.dtype}: "
                "use --set cache_dtype=float32, or check the VGG weights"
            )
        content = io.BytesIO()
        np.save(content, stored)
        files.write_file(path, content.getvalue())


def _network_key(config, variables, dtype):
    digest = hashlib.sha256()
    what = {"layer": config.vgg_layer, "preprocessing": config.preprocessing, "dtype": dtype}
    digest.update(json.dumps(what, sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables["frozen"]):
        digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return digest.hexdigest()[:32]


class CachedFeatures:
    """A training source whose images are their features; `examples` have `.image`, `.label`."""

    def __init__(self, examples: Sequence, cache: FeatureCache):
        self.examples, self.cache = examples, cache

    def __len__(self):
        return len(self.examples)

    def get(self, index: int, flipped: bool) -> tuple[np.ndarray, np.ndarray]:
        """(features [I, J, C], label [H, W]) of example `index`, or of its mirror image."""
        example = self.examples[index]
        image, label = example.image, example.label
        if flipped:
            # VGG's padding makes features of a mirror image differ from mirrored features.
            image, label = image[:, ::-1], label[:, ::-1]
        return self.cache.read(image), label
