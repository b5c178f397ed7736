"""A training run in its folder, the workdir: what it is, and how to get it back.

workdir/run.json        preset, network and settings; versions, machine and commit
workdir/metrics.jsonl   one line an epoch; equal for equal runs
workdir/times.jsonl     one line an epoch: seconds, images/s, peak memory
workdir/checkpoints/    of the two newest epochs and the best, and the newest within one
"""

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

from reseg_jax import api
from reseg_jax.config import ReSegConfig
from reseg_jax.errors import UserError
from reseg_jax.files import atomic, config_json
from reseg_jax.training import provenance
from reseg_jax.training.checkpoints import Checkpoints, Restored
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.step import averaged, create_state

# What may change between two calls of one run: how long it lasts and where the data lies.
_FREE = ("epochs", "patience", "patience_from", "min_epochs", "keep", "data_dir")


class Run(NamedTuple):
    """A trained network with what made it."""

    config: ReSegConfig
    settings: TrainSettings
    variables: dict
    step: int
    history: list[dict]  # the lines of metrics.jsonl up to this step
    name: str  # of the checkpoint


def say(line: str) -> None:
    """Tell the user something that is not a result: on stderr."""
    print(line, file=sys.stderr, flush=True)


def describe(workdir: str | Path) -> tuple[ReSegConfig, TrainSettings]:
    """Network and settings of the run in `workdir`."""
    path = Path(workdir) / "run.json"
    if not path.exists():
        raise UserError(
            f"{workdir} holds no run (no run.json): train one with "
            f"python -m experiments.train --workdir={workdir}"
        )
    try:
        record = json.loads(atomic.read_file(path))
        return (
            config_json.from_dict(ReSegConfig, record["config"]),
            config_json.from_dict(TrainSettings, record["settings"]),
        )
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}): restore it, or use a new workdir") from error


def claim(
    workdir: str | Path, config: ReSegConfig, settings: TrainSettings, preset: str | None = None
) -> None:
    """Write run.json, or check that the one there is of the same run; UserError if not.

    preset: the name that it goes by, for who reads run.json.
    """
    path = Path(workdir) / "run.json"
    if path.exists():
        theirs = describe(workdir)
        # A schedule that ends with the last epoch is another one for another number of them.
        free = set(_FREE) - ({"epochs"} if settings.schedule != "constant" else set())
        differences = [
            line
            for ours, other in zip((config, settings), theirs, strict=True)
            for line in config_json.differences(ours, other)
            if line.split(":")[0] not in free
        ]
        if differences:
            raise UserError(
                f"{workdir} belongs to another run: {'; '.join(differences)} "
                "(use another --workdir, or the same settings)"
            )
    record = {
        "preset": preset,
        "config": config_json.to_dict(config),
        "settings": config_json.to_dict(settings),
        "provenance": provenance.describe(),
    }
    atomic.write_file(path, (json.dumps(record, indent=2) + "\n").encode())


@contextlib.contextmanager
def held(workdir: str | Path) -> Iterator[None]:
    """Keep another training out of `workdir` meanwhile; UserError where one is in it.

    The system lets go of the lock when a process ends, however it ends.
    """
    folder = os.open(workdir, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another training is at work in {workdir}: wait for its end, or use another "
                "--workdir"
            ) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(folder)


def restore_newest(
    workdir: str | Path, like: Any, steps: list[int] | None = None
) -> Restored | None:
    """The last readable checkpoint of `steps` (default: all there are); says what it skips."""
    checkpoints = Checkpoints(Path(workdir) / "checkpoints")
    for step in reversed(checkpoints.steps() if steps is None else steps):
        try:
            return checkpoints.restore(step, like)
        except UserError as error:
            say(f"warning: {error}; falling back to the one before")
    return None


def load_run(workdir: str | Path, which: str = "best") -> Run:
    """The run in `workdir` at its "best" (validation mIoU) or "latest" checkpoint, or at a step.

    A damaged checkpoint is skipped for the next best, or the one before, and said so.
    """
    config, settings = describe(workdir)
    checkpoints = Checkpoints(Path(workdir) / "checkpoints")
    steps = checkpoints.steps()
    if which == "best":
        scores = checkpoints.scores()
        # Oldest first among equals, so that the search from the end meets the first maximum.
        steps = sorted(steps, key=lambda step: (scores.get(step, -2.0), -step))
    elif which != "latest":
        if not which.isdigit() or int(which) not in steps:
            known = ", ".join(map(str, steps)) or "none"
            raise UserError(f"{workdir} has no checkpoint {which}: best, latest, or of {known}")
        steps = [int(which)]
    restored = restore_newest(workdir, _blank_state(config, settings), steps)
    if restored is None:
        raise UserError(f"{workdir} has no readable checkpoint: run experiments.train on it")
    variables = averaged(restored.state)
    return Run(config, settings, variables, restored.step, restored.notes["history"], which)


def load_members(workdir: str | Path, count: int) -> list[Run]:
    """The newest checkpoints of `count` epochs of the run in `workdir`, oldest first, to average.

    Damaged ones are skipped for the ones before, and said so. All share one frozen VGG.
    """
    config, settings = describe(workdir)
    like, found = _blank_state(config, settings), []
    checkpoints = Checkpoints(Path(workdir) / "checkpoints")
    scores = checkpoints.scores()
    for step in reversed(checkpoints.steps()):
        if scores.get(step, 0.0) < 0:  # from within an epoch: the mean is over epochs
            continue
        if len(found) < count and (restored := restore_newest(workdir, like, [step])):
            found.insert(0, restored)
    if len(found) < count:
        raise UserError(
            f"{workdir} has {len(found)} readable checkpoints of whole epochs, not {count}: a run "
            f"keeps as many of its newest as --set keep={count} says in training, and the best one"
        )
    # `fitting.fit` lets no run go on over another VGG: what is frozen is the same in all.
    first = found[0].state.variables
    return [
        Run(
            config,
            settings,
            first | {"params": averaged(restored.state)["params"]},
            restored.step,
            restored.notes["history"],
            str(restored.step),
        )
        for restored in found
    ]


def _blank_state(config, settings):
    optimizer = settings.make_optimizer(config, steps_per_epoch=1)

    def build(key):
        return create_state(api.init(config, key), optimizer)

    return jax.eval_shape(build, jax.random.key(0))
