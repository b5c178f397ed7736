"""The epochs of a run, as its checkpoints and its metrics.jsonl tell them."""

import math
from pathlib import Path

from reseg_jax.errors import UserError
from reseg_jax.training import epoch_logs
from reseg_jax.training.checkpoints import Checkpoints


def saved_history(workdir: str | Path) -> list[dict] | None:
    """The history in the newest readable checkpoint of a run; None if there is none."""
    records = dict(Checkpoints(Path(workdir) / "checkpoints").records())
    return records[max(records)].notes["history"] if records else None


def best_epoch(history: list[dict]) -> dict:
    """The epoch with the highest validation mIoU, the first among equals."""
    return max(history, key=lambda record: record["val"]["miou"] or 0.0)


def epoch_scores(workdir: str | Path) -> dict[int, float]:
    """{step: validation mIoU} of every epoch that a run is known to have had.

    For a checkpoint that does not say, the history does. If that does not reach as far, the score
    is infinite: a checkpoint that nothing is known of may be the best.
    """
    checkpoints = Checkpoints(Path(workdir) / "checkpoints")
    records = dict(checkpoints.records())
    histories = [record.notes["history"] for record in records.values()]
    lines = epoch_logs.read(Path(workdir) / epoch_logs.METRICS)
    histories.append([line for line in lines if {"step", "val"} <= set(line)])
    longest = max(histories, key=len)
    known = {epoch["step"]: epoch["val"].get("miou") or 0.0 for epoch in longest}
    last = max(known, default=-1)
    scores = {step: -1.0 if step < last else math.inf for step in checkpoints.steps()}
    return scores | known | {step: record.score for step, record in records.items()}


def refuse_restart(workdir: Path) -> None:
    """Check that a training that found no checkpoint may begin with its first epoch.

    Raises:
      UserError: there are checkpoints, all of them damaged, or there were some.
    """
    steps = Checkpoints(workdir / "checkpoints").steps()
    finished = len(epoch_logs.read(workdir / epoch_logs.METRICS))
    if steps:
        found = f"all its checkpoints ({', '.join(map(str, steps))}) are damaged"
    elif finished:
        found = f"it has metrics of {finished} epochs and no checkpoint"
    else:
        return
    raise UserError(
        f"{workdir}: {found}, so the training would begin again at its first epoch: put a copy of "
        "the checkpoints back (is their disk there?), or use another --workdir; to give them up, "
        f"python -m experiments.check --workdir={workdir} --mend sets them aside, and the same "
        "command begins again"
    )
