"""A checkpoint's folder on the disk: whether it can be read, what it says, and how it is kept.

Nothing here knows orbax, but that the JSON it was given lies in record/metadata.
"""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from reseg_jax.errors import UserError, first_line
from reseg_jax.files import sealed_json

_OLD_RECORD = {"notes", "score", "sha256"}  # the fields of a record before it was sealed


class Damaged(UserError):
    """A checkpoint whose bytes are not those that were written."""


class Unreadable(UserError):
    """A checkpoint that cannot be read now; nothing says that it is damaged."""


class Record(NamedTuple):
    """What a checkpoint says beside its arrays.

    Attributes:
      notes: as `save` got them.
      score: likewise.
      leaves: {path: (type and shape, SHA-256)} of the arrays; in old ones without type and shape.
      orbax: version that wrote it, or None in old ones.
    """

    notes: dict
    score: float
    leaves: dict[str, tuple[str | None, str]]
    orbax: str | None


def read_record(folder: Path) -> Record:
    """What a checkpoint says beside its arrays, which are not read.

    Raises:
      Damaged: it is not what was written.
      Unreadable: it cannot be read now.
    """
    path = folder / "record" / "metadata"
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        if folder.is_symlink() and not folder.exists():
            raise unreadable(folder, error) from error
        raise Damaged(f"{folder}: unreadable checkpoint (its record is missing)") from error
    except OSError as error:
        raise unreadable(folder, error) from error
    try:
        found = json.loads(content)
        if set(found) == _OLD_RECORD:
            leaves = {name: (None, digest) for name, digest in found["sha256"].items()}
            return Record(found["notes"], found["score"], leaves, None)
        if sealed_json.is_whole(found):
            leaves = {name: tuple(leaf) for name, leaf in found["leaves"].items()}
            return Record(found["notes"], found["score"], leaves, found["orbax"])
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise Damaged(
            f"{folder}: unreadable checkpoint (its record is damaged: {first_line(error)})"
        ) from error
    raise Damaged(f"{folder}: damaged checkpoint (the checksum of its record differs)")


def leaves_of(tree):
    """{path: [type and shape, SHA-256]} of host arrays."""
    return {
        jax.tree_util.keystr(path): (
            _described(leaf),
            hashlib.sha256(np.ascontiguousarray(leaf).data).hexdigest(),
        )
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _described(leaf):
    return f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"


def difference(leaves, like):
    """How saved leaves differ from those of the tree `like` in name, type or shape; or None."""
    wanted = {
        jax.tree_util.keystr(path): _described(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(like)
    }
    for name in {**leaves, **wanted}:
        there = leaves[name][0] or wanted.get(name, "an array") if name in leaves else "nothing"
        here = wanted.get(name, "nothing")
        if there != here:
            return f"{name} is {there} in it, and {here} here"
    return None


def unreadable(folder, error):
    reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
    return Unreadable(
        f"{folder} cannot be read now ({reason}): check that its disk is there and that you may "
        "read it, then run the same command again"
    )


def check_readable(folder):
    """Read every byte below a folder: whatever fails later is no fault of disk or permissions.

    Raises:
      Unreadable: one cannot be read.
    """

    def refuse(error):
        raise error

    try:
        for directory, _, names in os.walk(folder, onerror=refuse):
            for name in names:
                with open(Path(directory, name), "rb") as file:
                    while file.read(1 << 20):
                        pass
    except OSError as error:
        raise unreadable(folder, error) from error


def flush(folder):
    """Have the system write a folder and all below it to the disk, which orbax does for a part."""
    for directory, _, names in os.walk(folder):
        for path in (*(Path(directory, name) for name in names), Path(directory)):
            _fsync(path)
    _fsync(folder.parent)


def _fsync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system that cannot
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
