"""The training loop: epochs of steps, each epoch validated, saved and reported.

The position of a run is its step, and a batch is a function of the step, so a run that was
stopped goes on at its newest checkpoint and ends as if it had never been stopped. A checkpoint
holds all that the run's other files say: they are written from it.

A loss is read when the next update is on its way, so that no device waits for the host. Nothing is
saved, and no epoch ends, before every loss is read.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from reseg_jax import devices
from reseg_jax.metrics import summarize
from reseg_jax.training.checkpoints import Checkpoints
from reseg_jax.training.divergence import Divergence
from reseg_jax.training.history import best_epoch
from reseg_jax.training.position import Position
from reseg_jax.training.progress import Progress
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.signals import Stop
from reseg_jax.training.step import TrainState, averaged, score

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
    stop: Stop | None = None,
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
      stop: tells of signals; at the first one the run is saved.

    Returns:
      The history, a dict per epoch.

    Raises:
      UserError: the run diverged, or a loss, a parameter or the optimizer's state is not finite,
        which leaves the checkpoints as they were; or the run was trained over another frozen
        backbone; or its checkpoints cannot be read.
      SystemExit: a signal came; what was trained is saved.
    """
    workdir, per_epoch = Path(workdir), train_batches.steps_per_epoch
    run = Position(
        workdir,
        Checkpoints(workdir / "checkpoints", settings.keep),
        stop or Stop(),
        Divergence(num_classes),
        state,
    )
    if run.resume():
        _log.info("resuming %s at step %d (epoch %.2f)", workdir, run.step, run.step / per_epoch)
    while len(run.history) < settings.epochs and not _out_of_patience(run.history, settings):
        end = (len(run.history) + 1) * per_epoch
        done = train_batches.examples_before(run.step) if run.step < end else len(train_batches)
        epoch = f"epoch {len(run.history) + 1}/{settings.epochs}"
        progress, before = Progress(epoch, len(train_batches), done=done), run.seconds
        for batch in _read_ahead(train_batches, run.step, end):
            state, loss = train_step(run.state, devices.everywhere(batch))
            run.trained(state, loss, batch["label"].shape)
            if run.step == end or not devices.can_queue():
                run.read_loss()
            progress.add(int(batch["weight"].sum()), run.divergence.describe())
            run.seconds = before + time.monotonic() - progress.started
            if run.step < end:
                run.save_after(save_minutes)
            run.leave_if_asked()
        trained = time.monotonic()
        rate = progress.rate()
        if not rate and run.seconds:  # every step was trained by another process
            rate = len(train_batches) / run.seconds
        batches = run.until_asked(_read_ahead(val_batches, 0, val_batches.steps_per_epoch))
        val = summarize(score(predict_step, averaged(run.state), batches, num_classes))
        run.finish_epoch(val, per_epoch, rate, time.monotonic() - trained)
        progress.say(_line(run.history, settings, rate))
        run.leave_if_asked()
    return run.history


def _read_ahead(batches, start, end):
    """Batches `start` to `end` - 1; each is read while the caller works on the one before."""
    if start >= end:
        return
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(batches.batch, start)
        for step in range(start + 1, end):
            batch, coming = coming.result(), reader.submit(batches.batch, step)
            yield batch
        yield coming.result()


def _out_of_patience(history, settings):
    if len(history) < settings.min_epochs or not history:
        return False
    since = max(best_epoch(history)["epoch"], settings.patience_from)
    return len(history) - since >= settings.patience


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
