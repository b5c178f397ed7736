"""A training run in its folder, the workdir: what it is, and how to get it back.

workdir/run.json        preset, network, classes and settings; versions, machine and commit of each
                        start; a checksum of all that
workdir/metrics.jsonl   one line per epoch; equal for equal runs
workdir/times.jsonl     one line per epoch: seconds, images/s, peak memory
workdir/checkpoints/    of the two newest epochs and the best, and the newest within one
"""

import contextlib
import dataclasses
import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

from reseg_jax import api, saving
from reseg_jax.errors import UserError, first_line
from reseg_jax.files import atomic, config_json
from reseg_jax.labels import Classes
from reseg_jax.networks.base import NetworkConfig
from reseg_jax.training import provenance, run_json, settings
from reseg_jax.training.checkpoints import Checkpoints, Damaged, Restored
from reseg_jax.training.history import epoch_scores
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.step import averaged, create_state

# What may change between two calls of one run: how long it lasts and where the data lies.
_FREE = ("epochs", "patience", "patience_from", "min_epochs", "keep", "data_dir")
# Options of a dataset that say where its files are; which files they are is another check.
PLACES = ("images", "labels", "classes", "label_pattern", "lists")

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
    record = run_json.read(path, About._fields)
    try:
        return about(record)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise run_json.damaged(path, first_line(error)) from error


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
        "classes": saving.classes_to_dict(run.classes) if run.classes else None,
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
        theirs, before = describe(workdir), run_json.read(path, About._fields).get("provenance")
        # A schedule that ends with the last epoch is another one for another number of them.
        free = set(_FREE) - ({"epochs"} if run.settings.schedule != "constant" else set())
        differing = config_json.differences(run.config, theirs.config)
        differing |= config_json.differences(_anywhere(run.settings), _anywhere(theirs.settings))
        differing |= _other_classes(run.classes, theirs.classes)
        lines = [f"{name}: {what}" for name, what in differing.items() if name not in free]
        if lines:
            raise UserError(
                f"{workdir} belongs to another run: {'; '.join(lines)} "
                "(use another --workdir, or the same settings)"
            )
    record = {"preset": preset, **to_dict(run), "provenance": provenance.appended(before)}
    run_json.write(path, record)


def _anywhere(settings):
    """Settings without the options that say where the data lies."""
    options = [text for text in settings.data_options if text.partition("=")[0] not in PLACES]
    return dataclasses.replace(settings, data_options=tuple(options))


def _other_classes(ours, theirs):
    """Differences in what labels mean; colors to draw with may change."""
    if not (ours and theirs):
        return {}
    found = config_json.differences(ours, dataclasses.replace(theirs, palette=ours.palette))
    known = theirs.reading is not None  # runs of older versions do not say how they read labels
    return {
        name: what
        for name, what in found.items()
        if name.startswith("names") or (known and name != "void")
    }


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
        scores = epoch_scores(workdir)
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
