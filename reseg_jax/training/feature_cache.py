"""Maps of a frozen backbone, computed once and memory-mapped afterwards.

The output of a frozen network is a constant of the image, so an epoch need not compute it again.
One `.npy` file per distinct image and tap, named by what the maps depend on: a folder for the
weights, tap, preprocessing and number format, a file for the image's content. Whatever changes one
of them finds another file; runs over the same images share theirs.

Dimension key: `H W` image axes, `h w` cells of a map, `C` channels.
"""

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path

import jax
import numpy as np

from reseg_jax import api
from reseg_jax.errors import UserError
from reseg_jax.files import config_json
from reseg_jax.layers import conv
from reseg_jax.networks.base import NetworkConfig
from reseg_jax.padding import CommonSizes, pad_to
from reseg_jax.training import feature_files
from reseg_jax.training.leftovers import abandoned_parts

_log = logging.getLogger(__name__)


class FeatureCache:
    """Maps of images under one frozen backbone, kept below a folder.

    Args:
      config: the network, whose `taps` are kept.
      variables: of the network.
      directory: the folder.
      dtype: in which numbers are stored.
    """

    def __init__(
        self, config: NetworkConfig, variables: dict, directory: Path, dtype: str = "float16"
    ):
        kernels = conv.prepare(variables["frozen"])
        self.config, self.variables = config, {**variables, conv.TRANSFORMED: kernels}
        self.dtype = np.dtype(dtype)
        self.sizes = CommonSizes(config.exact_padding)
        self._verified = {}  # path -> the file's size, time and inode when its checksum was right
        self.directories = {
            tap: Path(directory) / _key(config, tap, variables, dtype) for tap in config.taps
        }

    def shapes(self, size: tuple[int, int]) -> dict[str, tuple[int, int, int]]:
        """{tap: (h, w, C)} of the maps of an image of `size` (H, W)."""
        image = jax.ShapeDtypeStruct((1, *size, 3), np.uint8)
        found = jax.eval_shape(
            lambda variables, images: api.features(self.config, variables, images),
            self.variables,
            image,
        )
        return {tap: each.shape[1:] for tap, each in found.items()}

    def paths(self, image: np.ndarray) -> dict[str, Path]:
        """Where the maps of `image` [H, W, 3] uint8 are kept, by tap."""
        shape = str(image.shape).encode()
        digest = hashlib.sha256(shape + np.ascontiguousarray(image).data).hexdigest()
        return {tap: directory / f"{digest}.npy" for tap, directory in self.directories.items()}

    def read(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """{tap: [h, w, C]} of `image`, memory-mapped; computed first if missing or damaged.

        Raises:
          UserError: a file can neither be read nor written.
        """
        paths = self.paths(image)
        if unusable := self._unusable(paths):
            for path, why in unusable.items():
                if why not in (feature_files.MISSING, feature_files.OLD):
                    _log.warning("warning: %s is damaged (%s): computed again", path, why)
            self._compute(image, paths)
            for path, why in self._unusable(paths).items():
                raise UserError(
                    f"{path} was written and reads back wrong ({why}): check the disk, or choose "
                    "another --cache_dir"
                )
        return {tap: np.load(path, mmap_mode="r") for tap, path in paths.items()}

    def missing(self, images: Iterable[np.ndarray]) -> list[np.ndarray]:
        """Those of `images` whose maps are not there yet, or have no checksum, each once."""
        missing, old = {}, 0
        for image in images:
            paths = self.paths(image)
            if tuple(paths.values()) in missing:
                continue
            if unusable := self._unusable(paths, thorough=False):
                missing[tuple(paths.values())] = image
                old += feature_files.OLD in unusable.values()
        if old:
            _log.info("features of %d images are %s: computed again", old, feature_files.OLD)
        return list(missing.values())

    def remove_abandoned(self) -> None:
        """Remove what processes that were killed left half written."""
        for directory in self.directories.values():
            for path in abandoned_parts(directory):
                path.unlink(missing_ok=True)

    def _unusable(self, paths, thorough=True):
        """{path: what is wrong} of those files that must be computed."""
        unusable = {}
        for path in paths.values():
            state = _state(path)
            if state is not None and self._verified.get(path) == state:
                continue
            if why := feature_files.problem(path, thorough):
                unusable[path] = why
            elif thorough:
                self._verified[path] = state
        return unusable

    def _compute(self, image, paths):
        size = image.shape[:2]
        padded, valid_size = pad_to(image[None], self.sizes.holding(size))
        computed = api.features(self.config, self.variables, padded, valid_size=valid_size)
        shapes = self.shapes(size) if valid_size is not None else {}
        for tap, path in paths.items():
            found = np.asarray(computed[tap])[0]
            rows, columns, _ = shapes.get(tap, found.shape)
            with np.errstate(over="ignore"):
                stored = found[:rows, :columns].astype(self.dtype)
            if not np.isfinite(stored).all():
                raise UserError(
                    f"features of {tap} do not fit {self.dtype}: "
                    "use --set cache_dtype=float32, or check the backbone's weights"
                )
            feature_files.write(path, stored)


def _state(path):
    """What changes when a file is written anew; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


def _key(config, tap, variables, dtype):
    """What the maps of a tap depend on, as the name of a folder."""
    digest = hashlib.sha256()
    what = {"tap": tap, "preprocessing": config.preprocessing, "dtype": dtype}
    what |= {"contrast": config.contrast, "margin": config.margin, "stride": config.stride}
    what["backbone"] = config_json.to_dict(config.backbone)
    digest.update(json.dumps(what, sort_keys=True).encode())
    frozen = {"frozen": variables["frozen"]}
    if config.backbone.name in variables.get("batch_stats", {}):
        frozen["batch_stats"] = variables["batch_stats"][config.backbone.name]
    for path, leaf in jax.tree_util.tree_leaves_with_path(frozen):
        digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return digest.hexdigest()[:32]


class CachedFeatures:
    """A source of batches that gives maps if `source` gives images."""

    def __init__(self, source, cache: FeatureCache):
        self.source, self.cache = source, cache
        self._shapes = {}

    def __len__(self):
        return len(self.source)

    def shape(self, index: int) -> tuple[dict, tuple[int, int]]:
        """({tap: (h, w, C)}, (H, W)) of an example; nothing is computed or read."""
        _, size = self.source.shape(index)
        if size not in self._shapes:
            self._shapes[size] = self.cache.shapes(size)
        return self._shapes[size], size

    def get(
        self, index: int, epoch: int | None = None, flipped: bool = False
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """({tap: [h, w, C]}, label [H, W]); arguments as for `source.get`.

        Maps of a mirror image are not mirrored maps: the backbone's kernels are not symmetric.
        """
        image, label = self.source.get(index, epoch, flipped)
        return self.cache.read(image), label
