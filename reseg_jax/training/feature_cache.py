"""Features of a frozen VGG, computed once and memory-mapped afterwards.

The output of a frozen network is a constant of the image, so an epoch need not compute it
again. One `.npy` file a distinct image and layer, named by what the features depend on: a folder
for the weights, layer, preprocessing and number format, a file for the image's content. Whatever
changes one of them finds another file; runs over the same images share theirs.

Dimension key: `H W` image axes, `I J` cells of the feature map, `C` channels.
"""

import hashlib
import io
import json
from collections.abc import Iterable
from pathlib import Path

import jax
import numpy as np

from reseg_jax import canvas
from reseg_jax.api import features
from reseg_jax.config import VGG_LAYERS, ReSegConfig
from reseg_jax.errors import UserError
from reseg_jax.files import atomic


class FeatureCache:
    """Features of images under one frozen network, kept below `directory`."""

    def __init__(
        self, config: ReSegConfig, variables: dict, directory: Path, dtype: str = "float16"
    ):
        self.config, self.variables = config, variables
        self.dtype = np.dtype(dtype)
        self.layers = (config.vgg_layer, *config.skips)
        self.canvases = canvas.Canvases(config)
        self.directories = [
            Path(directory) / _key(config, layer, variables, dtype) for layer in self.layers
        ]

    def paths(self, image: np.ndarray) -> list[Path]:
        """Where the features of `image` [H, W, 3] uint8 are kept, one path a layer."""
        shape = str(image.shape).encode()
        digest = hashlib.sha256(shape + np.ascontiguousarray(image).data).hexdigest()
        return [directory / f"{digest}.npy" for directory in self.directories]

    def read(self, image: np.ndarray) -> np.ndarray | tuple[np.ndarray, ...]:
        """The features [I, J, C] of `image`, memory-mapped; computed first where missing.

        With `config.skips` a tuple, as `reseg_jax.api.features` gives it.
        """
        paths = self.paths(image)
        if not all(path.exists() for path in paths):
            self._compute(image, paths)
        found = tuple(np.load(path, mmap_mode="r") for path in paths)
        return found if self.config.skips else found[0]

    def missing(self, images: Iterable[np.ndarray]) -> list[np.ndarray]:
        """Those of `images` whose features are not there yet, each once."""
        missing = {}
        for image in images:
            paths = self.paths(image)
            if not all(path.exists() for path in paths):
                missing[paths[0]] = image
        return list(missing.values())

    def _compute(self, image, paths):
        size = image.shape[:2]
        placed, inside = canvas.place(image[None], self.canvases.holding(size))
        computed = jax.tree.leaves(features(self.config, self.variables, placed, inside))
        for layer, path, (one,) in zip(self.layers, paths, computed, strict=True):
            rows, columns = (-(-length // VGG_LAYERS[layer][1]) for length in size)
            with np.errstate(over="ignore"):
                stored = np.asarray(one)[:rows, :columns].astype(self.dtype)
            if not np.isfinite(stored).all():
                raise UserError(
                    f"features of {layer} do not fit {self.dtype}: "
                    "use --set cache_dtype=float32, or check the VGG weights"
                )
            content = io.BytesIO()
            np.save(content, stored)
            atomic.write_file(path, content.getvalue())


def _key(config, layer, variables, dtype):
    digest = hashlib.sha256()
    what = {"layer": layer, "preprocessing": config.preprocessing, "dtype": dtype}
    if config.contrast != "none":
        what["contrast"] = config.contrast
    digest.update(json.dumps(what, sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables["frozen"]):
        digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return digest.hexdigest()[:32]


class CachedFeatures:
    """A source of batches that gives features where `source` gives images."""

    def __init__(self, source, cache: FeatureCache):
        self.source, self.cache = source, cache
        self.per_epoch = getattr(source, "per_epoch", False)

    def __len__(self):
        return len(self.source)

    def get(self, *which) -> tuple[np.ndarray | tuple, np.ndarray]:
        """(features [I, J, C] or a tuple of such, label [H, W]); arguments as for `source.get`.

        Features of a mirror image are not mirrored features: VGG's kernels are not symmetric.
        """
        image, label = self.source.get(*which)
        return self.cache.read(image), label
