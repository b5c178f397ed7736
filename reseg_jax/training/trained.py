"""A trained network, out of the checkpoints of its run: the best, the newest, one, or several."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from reseg_jax import api
from reseg_jax.errors import UserError
from reseg_jax.labels import Classes
from reseg_jax.networks.base import NetworkConfig
from reseg_jax.training.checkpoints import Checkpoints, Damaged, Restored
from reseg_jax.training.history import epoch_scores
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.step import averaged, create_state
from reseg_jax.training.workdir import About, describe

_log = logging.getLogger(__name__)


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
    backbone, class_layers = about.config.backbone, about.config.class_layers
    return about.settings.make_optimizer(
        steps_per_epoch, variables["params"], backbone and backbone.name, class_layers
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
