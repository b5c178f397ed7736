"""Maps of a frozen backbone, computed once and read afterwards.

The output of a frozen network is a constant of the image, so an epoch need not compute it again.
One `.npy` file per distinct image and tap, named by what the maps depend on: a folder for the
weights, tap, preprocessing and number format, a file for the image's content. Whatever changes one
of them finds another file; runs over the same images share theirs.

Dimension key: `H W` image axes, `h w` cells of a map, `C` channels.
"""

import hashlib
import json
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from reseg_jax import api, devices, overlap
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
        self.dtype = jnp.dtype(dtype)  # NumPy by itself does not know bfloat16
        self.sizes = CommonSizes(config.exact_padding)
        self._shapes = {}  # size -> what `shapes` gives
        self._verified = {}  # path -> the file's size, time and inode when its checksum was right
        self.directories = {
            tap: Path(directory) / _key(config, tap, variables, dtype) for tap in config.taps
        }

    def shapes(self, size: tuple[int, int]) -> dict[str, tuple[int, int, int]]:
        """{tap: (h, w, C)} of the maps of an image of `size` (H, W); nothing is computed."""
        if size not in self._shapes:
            image = jax.ShapeDtypeStruct((1, *size, 3), np.uint8)
            found = jax.eval_shape(
                lambda variables, images: api.features(self.config, variables, images),
                self.variables,
                image,
            )
            self._shapes[size] = {tap: each.shape[1:] for tap, each in found.items()}
        return self._shapes[size]

    def paths(self, image: np.ndarray) -> dict[str, Path]:
        """Where the maps of `image` [H, W, 3] uint8 are kept, by tap."""
        shape = str(image.shape).encode()
        digest = hashlib.sha256(shape + np.ascontiguousarray(image).data).hexdigest()
        return {tap: directory / f"{digest}.npy" for tap, directory in self.directories.items()}

    def read(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """{tap: [h, w, C]} of `image`; computed first if missing or damaged.

        Raises:
          UserError: a file can neither be read nor written.
        """
        paths = self.paths(image)
        if unusable := self._unusable(paths):
            _warn(unusable)
            # A training may be at work in another thread: on one device nothing waits for it.
            with devices.only_first() as device:
                variables = jax.device_put(self.variables, device)
                self._write(paths, self._compute(image, variables))
        return {tap: feature_files.read(path) for tap, path in paths.items()}

    def missing(self, images: Iterable[np.ndarray]) -> list[np.ndarray]:
        """Those of `images` whose maps are missing or damaged, each once.

        Every checksum is compared, in threads, so that a training's reader, which is a thread
        beside the one that computes, finds nothing to compute.
        """

        def check(image):
            paths = self.paths(image)
            return image, tuple(paths.values()), self._unusable(paths)

        missing, old = {}, 0
        for image, paths, unusable in overlap.ahead(check, images):
            if unusable and paths not in missing:
                _warn(unusable)
                missing[paths] = image
                old += feature_files.OLD in unusable.values()
        if old:
            _log.info("features of %d images are %s: computed again", old, feature_files.OLD)
        return list(missing.values())

    def keep(self, images: Sequence[np.ndarray]) -> Iterator[int]:
        """Compute the maps of `images`, and write them while the next ones are computed.

        Yields:
          1 whenever the maps of one more image are on the disk.

        Raises:
          UserError: a file cannot be written, or all will not fit on the disk.
        """
        self._check_room(images)

        def compute(found):
            for image, paths in found:
                yield paths, self._compute(image)

        def write(found):
            self._write(*found)
            return 1

        yield from overlap.overlapped(
            images, lambda image: (image, self.paths(image)), compute, write, self._bytes
        )

    def remove_abandoned(self) -> None:
        """Remove what processes that were killed left half written."""
        for directory in self.directories.values():
            for path in abandoned_parts(directory):
                path.unlink(missing_ok=True)

    def _unusable(self, paths):
        """{path: what is wrong} of those files that must be computed."""
        unusable = {}
        for path in paths.values():
            state = _state(path)
            if state is not None and self._verified.get(path) == state:
                continue
            if why := feature_files.problem(path):
                unusable[path] = why
            else:
                self._verified[path] = state
        return unusable

    def _compute(self, image, variables=None):
        """{tap: [h, w, C]} of an image, in float32."""
        variables = self.variables if variables is None else variables
        size = image.shape[:2]
        padded, valid_size = pad_to(image[None], self.sizes.holding(size))
        computed = api.features(self.config, variables, padded, valid_size=valid_size)
        jax.block_until_ready(computed)  # one program at a time, see `reseg_jax.overlap`
        shapes = self.shapes(size) if valid_size is not None else {}
        maps = {}
        for tap, found in computed.items():
            rows, columns, _ = shapes.get(tap, found.shape[1:])
            maps[tap] = np.asarray(found)[0, :rows, :columns]
        return maps

    def _write(self, paths, maps):
        """Maps to files, which are read back."""
        for tap, path in paths.items():
            feature_files.write(path, self._rounded(tap, maps[tap]))
        for path, why in self._unusable(paths).items():
            raise UserError(
                f"{path} was written and reads back wrong ({why}): check the disk, or choose "
                "another --cache_dir"
            )

    def _rounded(self, tap, found):
        """A map in the type that is stored."""
        with np.errstate(over="ignore"):
            rounded = found.astype(self.dtype)
        if not np.isfinite(rounded).all():
            raise UserError(
                f"features of {tap} do not fit {self.dtype}: use --set cache_dtype=bfloat16 or "
                "float32, or check the backbone's weights"
            )
        return rounded

    def _bytes(self, image):
        """Bytes of an image's maps, before zeros are left out, in the type that is stored."""
        shapes = self.shapes(image.shape[:2]).values()
        return self.dtype.itemsize * sum(map(math.prod, shapes))

    def _check_room(self, images):
        """UserError if the disk has no room for the maps of `images`."""
        folder = next(iter(self.directories.values())).parent
        needed = sum(map(self._bytes, images))
        if needed > feature_files.free_bytes(folder):
            # How many numbers are 0, which take no room, the first image tells.
            maps = self._compute(images[0])
            packed = sum(feature_files.packed_bytes(self._rounded(tap, maps[tap])) for tap in maps)
            feature_files.check_room(
                folder, needed * packed / self._bytes(images[0]), f"{len(images)} images"
            )


def _warn(unusable):
    """Say which files are damaged; those that are missing or old are nothing unusual."""
    for path, why in unusable.items():
        if why not in (feature_files.MISSING, feature_files.OLD):
            _log.warning("warning: %s is damaged (%s): computed again", path, why)


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

    def __len__(self):
        return len(self.source)

    def shape(self, index: int) -> tuple[dict, tuple[int, int]]:
        """({tap: (h, w, C)}, (H, W)) of an example; nothing is computed or read."""
        _, size = self.source.shape(index)
        return self.cache.shapes(size), size

    def get(
        self, index: int, epoch: int | None = None, flipped: bool = False
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """({tap: [h, w, C]}, label [H, W]); arguments as for `source.get`.

        Maps of a mirror image are not mirrored maps: the backbone's kernels are not symmetric.
        """
        image, label = self.source.get(index, epoch, flipped)
        return self.cache.read(image), label
