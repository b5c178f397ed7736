"""A training run in its folder, the workdir: what it is, and how to get it back.

workdir/run.json        preset, network, classes and settings; versions, machine and commit of each
                        start; a checksum of all that
workdir/metrics.jsonl   one line per epoch; equal for equal runs
workdir/times.jsonl     one line per epoch: seconds, images/s, peak memory
workdir/checkpoints/    of the two newest epochs and the best, and the newest within one
"""

import contextlib
import fcntl
import json
import logging
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

from reseg_jax import api, saving
from reseg_jax.errors import UserError, first_line
from reseg_jax.files import atomic, config_json, sealed_json
from reseg_jax.labels import Classes
from reseg_jax.networks.base import NetworkConfig
from reseg_jax.training import epoch_logs, provenance, settings
from reseg_jax.training.checkpoints import Checkpoints, Damaged, Restored
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.step import averaged, create_state

# What may change between two calls of one run: how long it lasts and where the data lies.
_FREE = ("epochs", "patience", "patience_from", "min_epochs", "keep", "data_dir")

# What run.json may say beside the fields of `About`; "versions": before there was a provenance.
_BESIDE = {"preset", "provenance", "versions", sealed_json.FIELD}

_log = logging.getLogger(__name__)


class About(NamedTuple):
    """What run.json says.

    Attributes:
      config: the network.
      settings: of the training.
      classes: names and colors, or None.
    """

    config: NetworkConfig
    settings: TrainSettings
    classes: Classes | None


class Run(NamedTuple):
    """A trained network with what made it.

    Attributes:
      config, settings, classes: as in `About`.
      variables: to predict with.
      step: updates made.
      history: the lines of metrics.jsonl up to this step.
      name: of the checkpoint: "best", "latest" or its step. If "best" was asked for and is lost,
        the step of the one in its place.
    """

    config: NetworkConfig
    settings: TrainSettings
    classes: Classes | None
    variables: dict
    step: int
    history: list[dict]
    name: str


def describe(workdir: str | Path) -> About:
    """Network and settings of the run in `workdir`.

    Raises:
      UserError: there is no run, or its run.json is damaged.
    """
    path = Path(workdir) / "run.json"
    record = _read(path)
    try:
        return about(record)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise _damaged(path, first_line(error)) from error


def _read(path):
    """What a run.json says; its checksum is right, or it has none, as those of older versions."""
    if not path.exists():
        raise UserError(
            f"{path.parent} holds no run (no run.json): train one with "
            f"python -m experiments.train --workdir={path.parent}"
        )
    content = atomic.read_file(path)
    try:
        record = json.loads(content)
        if not isinstance(record, dict):
            raise ValueError(f"it holds a {type(record).__name__}")
        unknown = set(record) - {*About._fields, *_BESIDE}
        sealed = sealed_json.FIELD in record
        if sealed and not sealed_json.is_whole(record):
            raise UserError(
                f"{path} was changed or is damaged (its checksum differs): if you changed it, "
                f'remove "{sealed_json.FIELD}" from it, and it is read as it stands; otherwise put '
                "a copy back, or move it away and give the same train command, which writes it anew"
            )
    except (ValueError, TypeError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise _damaged(path, first_line(error)) from error
    if unknown:
        raise _damaged(path, f"nothing in it is called {', '.join(sorted(unknown))}")
    return record


def _damaged(path, why):
    return UserError(
        f"{path} is damaged ({why}): put a copy back, or move it away and give the same train "
        "command, which writes it anew"
    )


def about(record: dict) -> About:
    """What the JSON of a run, or of a record of one, says; older ones too."""
    config = record["config"]
    return About(
        saving.config_from_dict(config),
        settings.from_dict(record["settings"]),
        saving.classes_from_dict(record.get("classes") or config.get("classes")),
    )


def to_dict(run: About) -> dict:
    """The JSON that `about` reads."""
    return {
        "config": saving.config_to_dict(run.config),
        "classes": config_json.to_dict(run.classes) if run.classes else None,
        "settings": config_json.to_dict(run.settings),
    }


def claim(workdir: str | Path, run: About, preset: str | None = None) -> None:
    """Write run.json, or check that the one there belongs to the same run and add this start.

    For whoever holds the `lock`.

    Args:
      workdir: the folder.
      run: the run.
      preset: the name that it goes by, for readers of run.json.

    Raises:
      UserError: another run is there.
    """
    path, before = Path(workdir) / "run.json", None
    if path.exists():
        theirs, before = describe(workdir), _read(path).get("provenance")
        # A schedule that ends with the last epoch is another one for another number of them.
        free = set(_FREE) - ({"epochs"} if run.settings.schedule != "constant" else set())
        differing = config_json.differences(run.config, theirs.config)
        differing |= config_json.differences(run.settings, theirs.settings)
        if run.classes and theirs.classes:
            differing |= config_json.differences(run.classes, theirs.classes)
        lines = [f"{name}: {what}" for name, what in differing.items() if name not in free]
        if lines:
            raise UserError(
                f"{workdir} belongs to another run: {'; '.join(lines)} "
                "(use another --workdir, or the same settings)"
            )
    record = {"preset": preset, **to_dict(run), "provenance": provenance.appended(before)}
    text = json.dumps(sealed_json.seal(record), indent=2)
    atomic.write_file(path, f"{text}\n".encode())


@contextlib.contextmanager
def lock(workdir: str | Path) -> Iterator[None]:
    """Keep another training out of `workdir`, which is made if it is not there, meanwhile.

    The system releases the lock when a process ends, however it ends.

    Raises:
      UserError: another training is at work there, or the folder cannot be made.
    """
    try:
        Path(workdir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {workdir}: {atomic.explain(error)}") from error
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


def is_locked(workdir: str | Path) -> bool:
    """Whether a training is at work in `workdir`."""
    try:
        with lock(workdir):
            return False
    except UserError:
        return True


def restore_newest(
    workdir: str | Path,
    like: Any,
    steps: list[int] | None = None,
    usable: Callable[[Any], bool] = lambda _: True,
) -> Restored | None:
    """The last undamaged checkpoint of a run; logs what it skips.

    Args:
      workdir: the folder.
      like: a tree with the shapes and dtypes to expect.
      steps: which to try, the last first [all there are].
      usable: whether a state can be used; if not, it is skipped as well.

    Returns:
      The checkpoint, or None if there is none, or all are damaged.

    Raises:
      Unreadable: one cannot be read now, but may be whole: then no other takes its place.
    """
    checkpoints = Checkpoints(Path(workdir) / "checkpoints")
    for step in reversed(checkpoints.steps() if steps is None else steps):
        try:
            restored = checkpoints.restore(step, like)
            if usable(restored.state):
                return restored
            raise Damaged(f"{checkpoints.directory / str(step)} holds numbers that are not finite")
        except Damaged as error:
            _log.warning("warning: %s; falling back to the one before", error)
    return None


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


def saved_history(workdir: str | Path) -> list[dict] | None:
    """The history in the newest readable checkpoint of a run; None if there is none."""
    records = dict(Checkpoints(Path(workdir) / "checkpoints").records())
    return records[max(records)].notes["history"] if records else None


def best_epoch(history: list[dict]) -> dict:
    """The epoch with the highest validation mIoU, the first among equals."""
    return max(history, key=lambda record: record["val"]["miou"] or 0.0)


def load_run(workdir: str | Path, which: str = "best") -> Run:
    """The run in a workdir at one of its checkpoints.

    Args:
      workdir: the folder.
      which: "best" (validation mIoU), "latest", or a step.

    Returns:
      The run. A damaged checkpoint is skipped for the next best, or the one before, and logged;
      what takes the place of the best is not called best.

    Raises:
      UserError: there is no run, or no such checkpoint that can be read.
    """
    about = describe(workdir)
    checkpoints = Checkpoints(Path(workdir) / "checkpoints")
    steps = checkpoints.steps()
    if which == "best":
        scores = _scores(workdir, checkpoints)
        # Oldest first among equals, so that the search from the end meets the first maximum.
        ranked = sorted(scores, key=lambda step: (scores[step], -step))
        steps = [step for step in ranked if step in steps]
    elif which != "latest":
        if not which.isdigit() or int(which) not in steps:
            known = ", ".join(map(str, steps)) or "none"
            raise UserError(f"{workdir} has no checkpoint {which}: best, latest, or one of {known}")
        steps = [int(which)]
    restored = restore_newest(workdir, blank_state(about), steps)
    if restored is None:
        raise _nothing_to_load(workdir, checkpoints.steps(), steps)
    if which == "best" and restored.step != ranked[-1]:
        _log.warning(
            "warning: %s has lost its best checkpoint, of step %d: that of step %d is used, which "
            "is not the best",
            *(workdir, ranked[-1], restored.step),
        )
        which = str(restored.step)
    return _run(about, restored, which)


def _scores(workdir, checkpoints):
    """{step: validation mIoU} of every epoch that a run is known to have had.

    For a checkpoint that does not say, the history does. If that does not reach as far, the score
    is infinite: a checkpoint that nothing is known of may be the best.
    """
    records = dict(checkpoints.records())
    histories = [record.notes["history"] for record in records.values()]
    lines = epoch_logs.read(Path(workdir) / epoch_logs.METRICS)
    histories.append([line for line in lines if {"step", "val"} <= set(line)])
    longest = max(histories, key=len)
    known = {epoch["step"]: epoch["val"].get("miou") or 0.0 for epoch in longest}
    last = max(known, default=-1)
    scores = {step: -1.0 if step < last else math.inf for step in checkpoints.steps()}
    return scores | known | {step: record.score for step, record in records.items()}


def _nothing_to_load(workdir, there, tried):
    if not there:
        return UserError(f"{workdir} has no checkpoint yet: run experiments.train on it")
    others = ", ".join(str(step) for step in there if step not in tried)
    return UserError(
        f"{workdir} has no readable checkpoint: {', '.join(map(str, tried))} damaged, as said "
        f"above{f'; there are {others} too' if others else ''}; "
        f"python -m experiments.check --workdir={workdir} tells what can be mended"
    )


def load_members(workdir: str | Path, count: int) -> list[Run]:
    """The newest checkpoints of `count` epochs of a run, oldest first, to average.

    Damaged ones are skipped for the ones before, and logged. All share one frozen backbone.

    Raises:
      UserError: there are not as many.
    """
    about = describe(workdir)
    like, found = blank_state(about), []
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
    # `loop.fit` lets no run go on over another backbone: what is frozen is the same in all.
    frozen = {k: v for k, v in found[0].state.variables.items() if k == "frozen"}
    runs = [_run(about, restored, str(restored.step)) for restored in found]
    return [run._replace(variables={**run.variables, **frozen}) for run in runs]


def make_optimizer(about: About, variables: dict, steps_per_epoch: int):
    """The update rule of a run, for its trained parameters (shapes are enough)."""
    backbone = about.config.backbone
    return about.settings.make_optimizer(
        steps_per_epoch, variables["params"], backbone and backbone.name
    )


def _run(about, restored, name):
    variables, history = averaged(restored.state), restored.notes["history"]
    return Run(*about, variables, restored.step, history, name)


def blank_state(about: About):
    """The shapes and dtypes of a run's `TrainState`."""

    def build(key):
        variables = api.init(about.config, key)
        return create_state(variables, make_optimizer(about, variables, steps_per_epoch=1))

    return jax.eval_shape(build, jax.random.key(0))
