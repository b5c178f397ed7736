"""Checkpoints of a training run: the only importer of orbax.

A checkpoint is a tree of arrays and a JSON-able dict of notes, in a folder named by the step.
The newest few, the newest few with a score, and the best one are kept. Orbax commits a folder by
renaming it, so a killed run leaves whole ones; it does not notice a flipped bit, so each leaf's
SHA-256 travels along in the record, which is sealed itself, and all are compared on the way back.

What cannot be read is one of two things, and only the first is given up: damaged, if its bytes can
be read and are wrong; or unreadable now, as on a disk that is not there, a folder without
permission, or under another version of orbax.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from reseg_jax.errors import UserError, first_line
from reseg_jax.files import sealed_json
from reseg_jax.training.quiet import quiet_threads

# What a checkpoint of step 7 is called while it is written (by orbax), while another one takes its
# place, and while it is removed.
_WRITING, _REPLACED, _REMOVED = ".orbax-checkpoint-tmp", ".replaced", ".removed"
_OLD_RECORD = {"notes", "score", "sha256"}  # the fields of a record before it was sealed


class Damaged(UserError):
    """A checkpoint whose bytes are not those that were written."""


class Unreadable(UserError):
    """A checkpoint that cannot be read now; nothing says that it is damaged."""


class Restored(NamedTuple):
    """A checkpoint read back."""

    step: int
    state: Any
    notes: dict


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


class Checkpoints:
    """The checkpoints below `directory`, which is made when the first one is written."""

    def __init__(self, directory: str | Path, keep: int = 2):
        """keep: how many of the newest ones, and of the newest with a score, are kept."""
        self.keep = keep
        self._named = Path(directory)
        # Orbax takes only absolute paths; with a relative one it fails in the background.
        self.directory = Path(directory).resolve()
        # Its own progress lines would stand between the run's.
        logging.getLogger("absl").setLevel(logging.ERROR)

    def _manager(self, **options):
        return ocp.CheckpointManager(
            self.directory, options=ocp.CheckpointManagerOptions(**options)
        )

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are there, oldest first.

        Raises:
          Unreadable: nobody can tell.
        """
        return sorted(int(name) for name in self._names() if name.isdigit())

    def temporaries(self) -> list[Path]:
        """What was being written or removed, by a process that is at work or that was killed."""
        kinds = (_WRITING, _REPLACED, _REMOVED)
        names = [name for name in self._names() if any(kind in name for kind in kinds)]
        return [self.directory / name for name in names]

    def _names(self):
        try:
            return sorted(os.listdir(self.directory))
        except NotADirectoryError:
            return []
        except FileNotFoundError:
            if not self._named.is_symlink():
                return []
            raise Unreadable(
                f"{self._named} is a link to {self.directory}, which is not there: mount the disk "
                "again"
            ) from None
        except OSError as error:
            raise _unreadable(self.directory, error) from error

    def save(self, step: int, state: Any, notes: dict, score: float = -1.0) -> None:
        """Write a checkpoint and wait until it is on the disk; one of the same step is replaced.

        Args:
          step: names it.
          state: a tree of arrays.
          notes: JSON-able.
          score: decides which is best; negative if none was measured.

        Raises:
          UserError: it cannot be written; earlier checkpoints are still there.
        """
        host = jax.tree.map(np.asarray, state)
        record = {"notes": notes, "score": score, "leaves": _leaves(host), "orbax": ocp.__version__}
        folder = self.directory / str(step)
        try:
            if folder.exists():
                folder.rename(self.directory / f"{step}{_REPLACED}")
            with quiet_threads(), self._manager(enable_async_checkpointing=False) as manager:
                manager.save(
                    step,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardSave(host),
                        record=ocp.args.JsonSave(sealed_json.seal(record)),
                    ),
                )
            _flush(folder)
            self._remove(self.directory / f"{step}{_REPLACED}")
            # Orbax's own policies forget the scores of what an earlier process wrote.
            scores = self.scores()
            best = min(scores, key=lambda step: (-scores[step], step))
            scored = [step for step in scores if scores[step] >= 0]
            kept = {best, *scored[-self.keep :], *self.steps()[-self.keep :]}
            for old in set(scores) - kept:
                self._remove(self.directory / str(old))
        except Exception as error:  # orbax and tensorstore raise many kinds for a full disk
            why = self._why(error, host)
            self.tidy()
            kept = f"the last good checkpoint is of step {self.steps()[-1]}" if self.steps() else ""
            raise UserError(
                f"{self.directory}: cannot write the checkpoint of step {step} "
                f"({why}); free disk space or check permissions, then run the "
                f"same command again; {kept or 'there is no earlier one'}"
            ) from error

    def _why(self, error, host):
        """The reason of a failure to write; a full disk in its own words."""
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(host))
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(self.directory).free
            if free < needed and not isinstance(error, OSError):
                return f"No space left on device: {needed >> 10} KiB wanted, {free >> 10} KiB free"
        return first_line(error)

    def _remove(self, folder):
        """Remove a folder so that no kill leaves half of it under its name."""
        if folder.exists():
            removed = folder.with_name(f"{folder.name}{_REMOVED}")
            folder.rename(removed)
            shutil.rmtree(removed)

    def tidy(self) -> None:
        """Clear away what processes that were killed left half written or half removed.

        For whoever holds the run's lock: nobody else is at work then.
        """
        for path in self.temporaries():
            step = path.name.removesuffix(_REPLACED)
            if step.isdigit() and not (self.directory / step).exists():
                path.rename(self.directory / step)  # what was to take its place never came
            else:
                shutil.rmtree(path, ignore_errors=True)

    def restore(self, step: int, like: Any) -> Restored:
        """The checkpoint of `step`.

        Args:
          step: its name.
          like: a tree with the shapes and dtypes to expect.

        Raises:
          Damaged: its bytes are not those that were written.
          Unreadable: it cannot be read now, or holds other arrays than `like`.
        """
        folder, record = self.directory / str(step), self.record(step)
        _check_readable(folder)
        like = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        if other := _difference(record.leaves, like):
            raise Unreadable(
                f"{folder}: unreadable checkpoint ({other}): another version of this package or of "
                "optax wrote it, install that one"
            )
        try:
            with quiet_threads(), self._manager(read_only=True) as manager:
                items = ocp.args.Composite(state=ocp.args.StandardRestore(like))
                state = manager.restore(step, args=items)["state"]
        except Exception as error:  # what damage raises depends on the file that has it
            raise _restore_error(folder, record, error) from error
        found = {path: digest for path, (_, digest) in _leaves(_to_host(state)).items()}
        if found != {path: digest for path, (_, digest) in record.leaves.items()}:
            raise Damaged(f"{folder}: damaged checkpoint (checksums differ)")
        return Restored(step, state, record.notes)

    def record(self, step: int) -> Record:
        """What the checkpoint of `step` says beside its arrays, which are not read.

        Raises:
          Damaged: it is not what was written.
          Unreadable: it cannot be read now.
        """
        folder = self.directory / str(step)
        path = folder / "record" / "metadata"
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            if folder.is_symlink() and not folder.exists():
                raise _unreadable(folder, error) from error
            raise Damaged(f"{folder}: unreadable checkpoint (its record is missing)") from error
        except OSError as error:
            raise _unreadable(folder, error) from error
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

    def set_aside(self, step: int) -> Path:
        """Move a checkpoint beside the folder, as `damaged_STEP_TIME`, for a closer look."""
        aside = self.directory.with_name(f"damaged_{step}_{time.time_ns()}")
        (self.directory / str(step)).rename(aside)
        return aside

    def set_aside_after(self, step: int) -> None:
        """Move checkpoints later than `step`, which are damaged, out of the way."""
        for later in self.steps():
            if later > step:
                self.set_aside(later)

    def scores(self) -> dict[int, float]:
        """The score of each readable checkpoint, by step, oldest first."""
        return {step: record.score for step, record in self.records()}

    def records(self) -> Iterator[tuple[int, Record]]:
        """Steps and records of the checkpoints whose record is readable, oldest first."""
        for step in self.steps():
            with contextlib.suppress(Damaged, Unreadable):  # `restore` says so to whoever asks
                yield step, self.record(step)


def _to_host(tree):
    return jax.tree.map(np.asarray, tree)


def _leaves(tree):
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


def _difference(leaves, like):
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


def _unreadable(folder, error):
    reason = error.strerror if isinstance(error, OSError) and error.strerror else first_line(error)
    return Unreadable(
        f"{folder} cannot be read now ({reason}): check that its disk is there and that you may "
        "read it, then run the same command again"
    )


def _check_readable(folder):
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
        raise _unreadable(folder, error) from error


def _restore_error(folder, record, error):
    """What to raise when orbax fails to read files whose bytes can be read."""
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return Unreadable(f"{folder}: out of memory while it was read ({first_line(error)})")
    if record.orbax not in (None, ocp.__version__):
        return Unreadable(
            f"{folder}: unreadable checkpoint ({first_line(error)}); orbax-checkpoint "
            f"{record.orbax} wrote it and this is {ocp.__version__}: install that version"
        )
    return Damaged(f"{folder}: unreadable checkpoint ({first_line(error)})")


def _flush(folder):
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
