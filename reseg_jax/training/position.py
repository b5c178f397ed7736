"""Where a training stands: all that a checkpoint holds, how it is saved and how it is found again.

metrics.jsonl and times.jsonl are written from it, so a checkpoint is the only thing to lose.
"""

import dataclasses
import logging
import math
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import jax
import numpy as np

from reseg_jax import devices
from reseg_jax.errors import UserError
from reseg_jax.training import epoch_logs
from reseg_jax.training.checkpoints import Checkpoints
from reseg_jax.training.divergence import Divergence
from reseg_jax.training.history import refuse_restart
from reseg_jax.training.leftovers import abandoned_parts
from reseg_jax.training.signals import Stop
from reseg_jax.training.step import TrainState, first_bad, is_finite
from reseg_jax.training.trained import restore_newest

_log = logging.getLogger(__name__)


@dataclasses.dataclass
class Position:
    """Where a training stands.

    Attributes:
      workdir: the folder of the run.
      checkpoints: where it is saved.
      stop: tells of signals.
      divergence: watches the losses.
      state: parameters, statistics and optimizer.
      step: updates made.
      history: a dict per finished epoch.
      times: likewise, seconds and memory.
      loss_sum: of the steps of the epoch in work.
      seconds: that those steps took, in processes before this one too.
      saved: when, by the monotonic clock.
      unread: the loss of the last update and [B, H, W] of its batch, if it has not been read yet.
    """

    workdir: Path
    checkpoints: Checkpoints
    stop: Stop
    divergence: Divergence
    state: TrainState
    step: int = 0
    history: list[dict] = dataclasses.field(default_factory=list)
    times: list[dict] = dataclasses.field(default_factory=list)
    loss_sum: float = 0.0
    seconds: float = 0.0
    saved: float = dataclasses.field(default_factory=time.monotonic)
    unread: tuple[jax.Array, tuple[int, ...]] | None = None

    def resume(self) -> bool:
        """Go on at the newest checkpoint, or begin, if there never was one.

        Returns:
          Whether there was one.

        Raises:
          UserError: there are checkpoints, and none that can be read; or they are of a run over
            another frozen backbone.
        """
        self.checkpoints.tidy()
        for path in abandoned_parts(self.workdir):
            path.unlink(missing_ok=True)
        restored = restore_newest(self.workdir, self.state, usable=is_finite)
        if restored:
            _check_frozen(self.workdir, restored.state, self.state)
            notes = restored.notes
            self.state, self.step = restored.state, restored.step
            self.history, self.loss_sum = notes["history"], notes["loss_sum"]
            self.seconds = notes.get("seconds", 0.0)  # older checkpoints have neither
            first = self.history[0]["train_loss"] if self.history else None
            self.divergence.first_loss = notes.get("first_loss", first)
            self.times = _times(self.workdir, notes.get("times", []), len(self.history))
            self._say_other_devices(notes.get("devices"))
        else:
            refuse_restart(self.workdir)
        self.state = devices.everywhere(self.state)
        self.checkpoints.set_aside_after(self.step)
        self.write_logs()
        return restored is not None

    def _say_other_devices(self, before):
        if before not in (None, devices.describe()):
            _log.info(
                "this run was on %s and goes on on %s: sums are taken in another order, so its "
                "numbers may differ in their last digits from those without the change",
                *(before, devices.describe()),
            )

    def write_logs(self) -> None:
        """metrics.jsonl and times.jsonl, as far as the newest checkpoint."""
        epoch_logs.write(self.workdir / epoch_logs.METRICS, self.history)
        epoch_logs.write(self.workdir / epoch_logs.TIMES, self.times)

    def trained(self, state: TrainState, loss: jax.Array, label_shape: tuple[int, ...]) -> None:
        """Take note of an update that devices may still compute, and read the loss before it.

        So no device waits for the host: it has the next update while the host waits for this one.

        Args:
          state: after it.
          loss: of the batch.
          label_shape: [B, H, W] of the batch.

        Raises:
          UserError: as `read_loss`.
        """
        self.read_loss()
        self.state, self.step, self.unread = state, self.step + 1, (loss, label_shape)
        self.stop.unsaved = True

    def read_loss(self) -> None:
        """Wait for the last update and look at its loss, if nobody has yet.

        Raises:
          UserError: the loss is not finite, or the training has diverged.
        """
        if self.unread is None:
            return
        (loss, label_shape), self.unread = self.unread, None
        loss = float(jax.device_get(loss))
        if not math.isfinite(loss):
            raise self._bad("the loss is not a finite number")
        self.loss_sum += loss
        self.divergence.add(loss, label_shape)
        if self.divergence.is_certain():
            raise self._diverged()

    def save_after(self, minutes: float) -> None:
        """Save if the last time is longer ago, and the last loss is no sign of divergence."""
        if time.monotonic() - self.saved > 60 * minutes:
            self.read_loss()
            if not self.divergence.over:
                self.save()

    def save(self, score: float = -1.0) -> None:
        """A checkpoint; `score`, from 0, at the end of an epoch.

        Raises:
          UserError: as `read_loss`; or a parameter, a statistic or a number of the optimizer's is
            not finite, or it cannot be written.
        """
        self.read_loss()
        if bad := first_bad(self.state):
            raise self._bad(f"{bad} is not a finite number")
        notes = {
            "history": self.history,
            "loss_sum": self.loss_sum,
            "times": self.times,
            "seconds": self.seconds,
            "first_loss": self.divergence.first_loss,
            "devices": devices.describe(),
        }
        self.checkpoints.save(self.step, self.state, notes, score)
        self.saved, self.stop.unsaved = time.monotonic(), False

    def finish_epoch(self, val: dict, steps: int, rate: float, val_seconds: float) -> None:
        """Save an epoch that is trained and validated, and write its lines.

        Args:
          val: what validation gave.
          steps: of the epoch.
          rate: images per second of training.
          val_seconds: that validation took.

        Raises:
          UserError: as `save`, or the training has diverged.
        """
        self.read_loss()
        if self.divergence.over:
            raise self._diverged()
        epoch, loss = len(self.history) + 1, self.loss_sum / steps
        self.history.append({"epoch": epoch, "step": self.step, "train_loss": loss, "val": val})
        self.times.append(epoch_logs.times_of(epoch, rate, self.seconds, val_seconds))
        self.loss_sum = self.seconds = 0.0
        began = time.monotonic()
        self.save(val["miou"] or 0.0)
        # The checkpoint itself cannot say how long it took; the next one does.
        both = round(val_seconds + time.monotonic() - began, 2)
        self.times[-1] = {**self.times[-1], "val_and_save_seconds": both}
        self.write_logs()

    def leave_if_asked(self) -> None:
        """If a signal came, save what is not saved and raise SystemExit."""
        if self.stop.signum is None:
            return
        self.read_loss()
        if self.stop.unsaved and not self.divergence.over:
            self.save()
        name = signal.Signals(self.stop.signum).name
        _log.warning("%s: stopped; %s; the same command goes on from there", name, self._kept())
        raise SystemExit(self.stop.exit_code())

    def until_asked(self, batches: Iterable[dict]) -> Iterator[dict]:
        """The batches, before each of which `leave_if_asked`."""
        for batch in batches:
            self.leave_if_asked()
            yield batch

    def _kept(self):
        steps = self.checkpoints.steps()
        return f"the checkpoint of step {steps[-1]} is kept" if steps else "nothing was saved yet"

    def _diverged(self):
        return self._bad(
            f"the training has diverged: the loss is {self.divergence.last:.3g}, more than "
            f"{self.divergence.limit:.3g}, a thousand times that of a network that guesses,"
        )

    def _bad(self, what):
        learned = f" (--start_from={self.workdir} begins with what was learned here)"
        return UserError(
            f"{what} at step {self.step}: stopped; {self._kept()}; the same command would come to "
            "the same place: lower --learning_rate and give another --workdir"
            f"{learned if self.checkpoints.steps() else ''}, or check the images and the weights"
        )


def _times(workdir, times, epochs):
    """The lines of times.jsonl; those of epochs before checkpoints had them are the file's own."""
    lines = {line.get("epoch"): line for line in epoch_logs.read(workdir / epoch_logs.TIMES)}
    lines |= {line["epoch"]: line for line in times}
    return [lines[epoch] for epoch in range(1, epochs + 1) if epoch in lines]


def _check_frozen(workdir, restored, state):
    frozen = (each.variables.get("frozen") for each in (restored, state))
    if not jax.tree.all(jax.tree.map(np.array_equal, *frozen)):
        raise UserError(
            f"{workdir} was trained over other weights of its backbone: give the same "
            "--backbone_weights, or another --workdir"
        )
