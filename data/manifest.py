"""Which files a run was trained on: their names, sizes and contents, in the run's folder.

workdir/data.json    {"splits": {split: [[name, image SHA-256, label SHA-256], ...]},
                      "files": {path: [size, time, SHA-256]}, "sha256": of these two}

A resumed run finds the files changed, or only moved: contents are compared, paths are not. What was
computed for a file is used again if path, size and time are the same.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from data.reading.layout import Pair
from reseg_jax.errors import UserError
from reseg_jax.files import atomic
from reseg_jax.training.progress import Progress

NAME = "data.json"
MOST_NAMED = 3  # files that an error names
LARGE = 1 << 28  # bytes whose checksums take so long (a second and more) that it is said
CHUNK = 1 << 20  # bytes that are read at once

_log = logging.getLogger("reseg_jax.data.manifest")  # below reseg_jax, which commands show


def compare(workdir: Path, splits: Mapping[str, Sequence[Pair]]) -> dict:
    """The manifest of files that are there now, after a comparison with the run's if it has one.

    Args:
      workdir: the run's folder.
      splits: {split: image and label files} of what is trained and validated on.

    Returns:
      What `write` writes.

    Raises:
      UserError: they are other files than the run had: says how many and names the first ones.
    """
    path = Path(workdir) / NAME
    before = _read(path) if path.exists() else {"splits": None, "files": {}}
    paths = [path for pairs in splits.values() for pair in pairs for path in pair[1:]]
    files = _hashes(paths, before["files"])
    now = {split: _contents(pairs, files) for split, pairs in splits.items()}
    if before["splits"] and splits and (found := _changes(before["splits"], now)):
        raise UserError(
            f"{workdir} was trained on other data: {'; '.join(found)}: restore the files, or "
            "use another --workdir"
        )
    return {"splits": now, "files": files}


def changes(workdir: Path, split: str, pairs: Sequence[Pair]) -> str:
    """What is other in a split than in training, in words; "" if nothing is, or nobody knows.

    Raises:
      UserError: the manifest of the run is damaged, or a file cannot be read.
    """
    path = Path(workdir) / NAME
    before = _read(path) if path.exists() else {"splits": {}, "files": {}}
    if split not in before["splits"]:
        return ""
    files = _hashes([path for pair in pairs for path in pair[1:]], before["files"])
    return "; ".join(_changes({split: before["splits"][split]}, {split: _contents(pairs, files)}))


def _contents(pairs, files):
    return [[pair.name, files[str(pair.image)][2], files[str(pair.label)][2]] for pair in pairs]


def write(workdir: Path, manifest: dict) -> None:
    """Writes what `compare` gave; nothing for a dataset whose files a user does not bring."""
    if manifest["splits"]:
        content = manifest | {"sha256": _checksum(manifest)}
        atomic.write_file(Path(workdir) / NAME, json.dumps(content).encode())


def _checksum(content):
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read(path):
    try:
        content = json.loads(atomic.read_file(path))
        found = {"splits": dict(content["splits"]), "files": dict(content["files"])}
        if content["sha256"] != _checksum(found):
            raise ValueError("its checksum is another")
        return found
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path} is damaged ({error}): restore it, or remove it if the data is surely the same"
        ) from error


def _hashes(paths: Sequence[Path], known: Mapping[str, list]) -> dict[str, list]:
    """{path: [size, time, SHA-256]}, computed where `known` has another size or time."""
    files, missing = {}, []
    for path in dict.fromkeys(paths):
        try:
            found = os.stat(path)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from error
        files[str(path)] = [found.st_size, found.st_mtime_ns, None]
        kept = known.get(str(path))
        if kept and kept[:2] == files[str(path)][:2]:
            files[str(path)][2] = kept[2]
        else:
            missing.append(path)
    if (size := sum(files[str(path)][0] for path in missing)) > LARGE:
        _log.info("checksums of %d files, %.1f GB, once", len(missing), size / 1e9)
    progress = Progress("checksums of the images and labels", len(missing))
    with ThreadPoolExecutor() as pool:
        for path, digest in zip(missing, pool.map(_sha256, missing), strict=True):
            files[str(path)][2] = digest
            progress.add(1)
    return files


def _sha256(path):
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def _changes(before, now):
    """What is other than it was, a text per kind."""
    found = []
    for split in dict.fromkeys([*before, *now]):
        old, new = ({name: rest for name, *rest in each.get(split, ())} for each in (before, now))
        kinds = {
            "more": sorted(new.keys() - old.keys()),
            "fewer": sorted(old.keys() - new.keys()),
            "with another image": [n for n in new if n in old and new[n][0] != old[n][0]],
            "with another label": [n for n in new if n in old and new[n][1] != old[n][1]],
        }
        for kind, names in kinds.items():
            if names:
                listed = ", ".join(names[:MOST_NAMED]) + (
                    ", ..." if len(names) > MOST_NAMED else ""
                )
                found.append(f"{split} has {len(names)} {kind} ({listed})")
    return found
