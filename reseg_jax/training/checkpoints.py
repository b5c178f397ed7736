"""Checkpoints of a training run: the only importer of orbax.

A checkpoint is a tree of arrays and a JSON-able dict of notes, in a folder named by the step.
The newest few, the newest few with a score, and the best one are kept. Orbax commits a folder by
renaming it, so a killed run leaves whole ones; it does not notice a flipped bit in a data file, so
each leaf's SHA-256 travels along and is compared on the way back.
"""

import hashlib
import logging
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from reseg_jax.errors import UserError, first_line


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
        # Orbax takes only absolute paths; with a relative one it fails in the background.
        self.directory = Path(directory).resolve()
        # Its own progress lines would stand between the run's.
        logging.getLogger("absl").setLevel(logging.ERROR)

    def _manager(self, **options):
        return ocp.CheckpointManager(
            self.directory, options=ocp.CheckpointManagerOptions(**options)
        )

    def _read(self, step, **items):
        with self._manager(read_only=True) as manager:
            return manager.restore(step, args=ocp.args.Composite(**items))

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are there, oldest first."""
        if not self.directory.is_dir():
            return []
        return sorted(int(path.name) for path in self.directory.iterdir() if path.name.isdigit())

    def save(self, step: int, state: Any, notes: dict, score: float = -1.0) -> None:
        """Write a checkpoint and wait until it is on the disk.

        Args:
          step: names it.
          state: a tree of arrays.
          notes: JSON-able.
          score: decides which is best; negative if none was measured.

        Raises:
          UserError: it cannot be written; earlier checkpoints are still there.
        """
        host = jax.tree.map(np.asarray, state)
        record = {"notes": notes, "score": score, "sha256": _digests(host)}
        try:
            with self._manager(enable_async_checkpointing=False) as manager:
                manager.save(
                    step,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardSave(host), record=ocp.args.JsonSave(record)
                    ),
                )
                # Orbax's own policies forget the scores of what an earlier process wrote.
                scores = self.scores()
                best = min(scores, key=lambda step: (-scores[step], step))
                scored = [step for step in scores if scores[step] >= 0]
                kept = {best, *scored[-self.keep :], *self.steps()[-self.keep :]}
                for old in set(scores) - kept:
                    manager.delete(old)
        except Exception as error:  # orbax and tensorstore raise many kinds for a full disk
            kept = f"the last good checkpoint is of step {self.steps()[-1]}" if self.steps() else ""
            raise UserError(
                f"{self.directory}: cannot write the checkpoint of step {step} "
                f"({first_line(error)}); free disk space or check permissions, then run the same "
                f"command again; {kept or 'there is no earlier one'}"
            ) from error

    def restore(self, step: int, like: Any) -> Restored:
        """The checkpoint of `step`.

        Args:
          step: its name.
          like: a tree with the shapes and dtypes to expect.

        Raises:
          UserError: it is damaged or holds another tree.
        """
        like = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            restored = self._read(
                step, state=ocp.args.StandardRestore(like), record=ocp.args.JsonRestore()
            )
        except Exception as error:  # what damage raises depends on the file that has it
            raise UserError(
                f"{self.directory / str(step)}: unreadable checkpoint ({first_line(error)})"
            ) from error
        state, record = restored["state"], restored["record"]
        if _digests(jax.tree.map(np.asarray, state)) != record["sha256"]:
            raise UserError(f"{self.directory / str(step)}: damaged checkpoint (checksums differ)")
        return Restored(step, state, record["notes"])

    def set_aside_after(self, step: int) -> None:
        """Move checkpoints later than `step`, which could not be read, out of the way.

        They go beside the folder as `damaged_STEP`, for a closer look.
        """
        for later in self.steps():
            if later > step:
                aside = self.directory.with_name(f"damaged_{later}_{time.time_ns()}")
                (self.directory / str(later)).rename(aside)

    def scores(self) -> dict[int, float]:
        """The score of each readable checkpoint, by step, oldest first."""
        found = {}
        for step in self.steps():
            try:
                found[step] = self._read(step, record=ocp.args.JsonRestore())["record"]["score"]
            except Exception:  # damaged: `restore` says so to whoever asks for it
                continue
        return found


def _digests(tree):
    return {
        jax.tree_util.keystr(path): hashlib.sha256(np.ascontiguousarray(leaf).data).hexdigest()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
