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
from reseg_jax.training import checkpoint_files
from reseg_jax.training.checkpoint_files import (
    Damaged,
    Record,
    Unreadable,
    check_readable,
    difference,
    flush,
    leaves_of,
    unreadable,
)
from reseg_jax.training.quiet import quiet_threads

# What a checkpoint of step 7 is called while it is written (by orbax), while another one takes its
# place, and while it is removed.
_WRITING, _REPLACED, _REMOVED = ".orbax-checkpoint-tmp", ".replaced", ".removed"


class Restored(NamedTuple):
    """A checkpoint read back."""

    step: int
    state: Any
    notes: dict


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
            raise unreadable(self.directory, error) from error

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
        record = {
            "notes": notes,
            "score": score,
            "leaves": leaves_of(host),
            "orbax": ocp.__version__,
        }
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
            flush(folder)
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
        check_readable(folder)
        like = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        if other := difference(record.leaves, like):
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
        found = {
            path: digest for path, (_, digest) in leaves_of(jax.tree.map(np.asarray, state)).items()
        }
        if found != {path: digest for path, (_, digest) in record.leaves.items()}:
            raise Damaged(f"{folder}: damaged checkpoint (checksums differ)")
        return Restored(step, state, record.notes)

    def record(self, step: int) -> Record:
        """What the checkpoint of `step` says beside its arrays, which are not read.

        Raises:
          Damaged: it is not what was written.
          Unreadable: it cannot be read now.
        """
        return checkpoint_files.read_record(self.directory / str(step))

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
