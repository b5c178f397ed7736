"""The training loop: epochs of steps, each epoch validated, saved and reported.

The position of a run is its step, and a batch is a function of the step, so a run that was
stopped goes on at its newest readable checkpoint and ends as if it had never been stopped.
"""

import json
import logging
import math
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import jax
import numpy as np

from reseg_jax import devices
from reseg_jax.errors import UserError
from reseg_jax.files import atomic
from reseg_jax.metrics import summarize
from reseg_jax.training.checkpoints import Checkpoints
from reseg_jax.training.progress import Progress
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.step import TrainState, averaged, first_bad_leaf, score
from reseg_jax.training.workdir import restore_newest

_log = logging.getLogger(__name__)


class Batches(Protocol):
    """What `fit` reads: batch `step` of an endless row of epochs, and an epoch's length."""

    steps_per_epoch: int

    def __len__(self) -> int: ...  # images per epoch

    def examples_before(self, step: int) -> int: ...  # images of its epoch before a step

    def batch(self, step: int) -> dict: ...  # as `make_train_step` and `score` read it


def fit(
    workdir: str | Path,
    settings: TrainSettings,
    state: TrainState,
    train_step: Callable,
    predict_step: Callable,
    train_batches: Batches,
    val_batches: Batches,
    num_classes: int,
    save_minutes: float = 5.0,
) -> list[dict]:
    """Train until `settings.epochs` or until patience ends.

    Every epoch ends with a validation and a checkpoint; a long one saves every `save_minutes`
    as well.

    Args:
      workdir: the folder of the run; if it holds checkpoints, the run goes on at the newest.
      settings: how long to train, and what to keep.
      state: to begin with.
      train_step: as from `make_train_step`.
      predict_step: as from `make_predict_step`.
      train_batches: to train on.
      val_batches: to validate on.
      num_classes: K.
      save_minutes: the longest time between two checkpoints.

    Returns:
      The history, a dict per epoch.

    Raises:
      UserError: a loss or a parameter is not finite, which leaves the checkpoints as they were; or
        the run was trained over another frozen backbone.
    """
    workdir, per_epoch = Path(workdir), train_batches.steps_per_epoch
    checkpoints = Checkpoints(workdir / "checkpoints", settings.keep)
    history, loss_sum = [], 0.0
    if restored := restore_newest(workdir, state):
        _check_frozen(workdir, restored.state, state)
        state = restored.state
        history, loss_sum = restored.notes["history"], restored.notes["loss_sum"]
        step = restored.step
        _log.info("resuming %s at step %d (epoch %.2f)", workdir, step, step / per_epoch)
    state = devices.everywhere(state)
    step = int(state.step)
    checkpoints.set_aside_after(step)
    _write_history(workdir, history)

    saved = time.monotonic()
    while step < settings.epochs * per_epoch and not _out_of_patience(history, settings):
        epoch = step // per_epoch + 1
        done = train_batches.examples_before(step)
        progress = Progress(f"epoch {epoch}/{settings.epochs}", len(train_batches), done=done)
        for batch in _read_ahead(train_batches, step, epoch * per_epoch):
            state, loss = train_step(state, batch)
            step, loss = step + 1, float(loss)
            if not math.isfinite(loss):
                raise _not_finite("the loss", step, checkpoints)
            loss_sum += loss
            progress.add(int(batch["weight"].sum()), f"loss {loss:.4g}")
            if time.monotonic() - saved > 60 * save_minutes and step < epoch * per_epoch:
                _save(checkpoints, step, state, history, loss_sum)
                saved = time.monotonic()
        rate, trained = progress.rate(), time.monotonic()
        batches = _read_ahead(val_batches, 0, val_batches.steps_per_epoch)
        val = summarize(score(predict_step, averaged(state), batches, num_classes))
        mean_loss = loss_sum / per_epoch
        history.append({"epoch": epoch, "step": step, "train_loss": mean_loss, "val": val})
        loss_sum = 0.0
        _save(checkpoints, step, state, history, loss_sum, val["miou"] or 0.0)
        saved = time.monotonic()
        _write_history(workdir, history)
        _append_times(workdir, epoch, rate, trained - progress.started, saved - trained)
        progress.say(_line(history, settings, rate))
    return history


def _save(checkpoints, step, state, history, loss_sum, score=-1.0):
    """A checkpoint, unless a parameter or a statistic is not finite."""
    trained = {k: v for k, v in state.variables.items() if k != "frozen"}
    if bad := first_bad_leaf(trained):
        raise _not_finite(f"parameter {bad}", step, checkpoints)
    checkpoints.save(step, state, {"history": history, "loss_sum": loss_sum}, score)


def _check_frozen(workdir, restored, state):
    frozen = (each.variables.get("frozen") for each in (restored, state))
    if not jax.tree.all(jax.tree.map(np.array_equal, *frozen)):
        raise UserError(
            f"{workdir} was trained over other VGG weights: give the same --vgg_weights, or "
            "another --workdir"
        )


def _read_ahead(batches, start, end):
    """Batches `start` to `end` - 1; each is read while the caller works on the one before."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(batches.batch, start)
        for step in range(start + 1, end):
            batch, coming = coming.result(), reader.submit(batches.batch, step)
            yield batch
        yield coming.result()


def best_epoch(history: list[dict]) -> dict:
    """The epoch with the highest validation mIoU, the first among equals."""
    return max(history, key=lambda record: record["val"]["miou"] or 0.0)


def _out_of_patience(history, settings):
    if len(history) < settings.min_epochs or not history:
        return False
    since = max(best_epoch(history)["epoch"], settings.patience_from)
    return len(history) - since >= settings.patience


def _not_finite(what, step, checkpoints):
    steps = checkpoints.steps()
    kept = f"the checkpoint of step {steps[-1]} is kept" if steps else "nothing was saved yet"
    return UserError(
        f"{what} is not a finite number at step {step}: stopped; {kept}; "
        "lower --learning_rate, or check the images and the weights"
    )


def _line(history, settings, rate):
    record, best = history[-1], best_epoch(history)
    miou, accuracy, best_miou = (
        100 * (value or 0.0)
        for value in (
            record["val"]["miou"],
            record["val"]["global_accuracy"],
            best["val"]["miou"],
        )
    )
    return (
        f"epoch {record['epoch']}/{settings.epochs}  loss {record['train_loss']:.4g}  "
        f"val mIoU {miou:.2f}  global {accuracy:.2f}  "
        f"best {best_miou:.2f} (epoch {best['epoch']})  {rate:.2f} images/s"
    )


def _write_history(workdir, history):
    text = "".join(json.dumps(record) + "\n" for record in history)
    atomic.write_file(workdir / "metrics.jsonl", text.encode())


def _append_times(workdir, epoch, rate, train_seconds, val_seconds):
    """Times have a file of their own: metrics are equal for equal runs, times are not."""
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, kilobytes on Linux
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    record = {
        "epoch": epoch,
        "train_seconds": round(train_seconds, 2),
        "val_and_save_seconds": round(val_seconds, 2),
        "images_per_second": round(rate, 3),
        "peak_memory_mib": round(peak),
    }
    with open(workdir / "times.jsonl", "a") as file:
        file.write(json.dumps(record) + "\n")
