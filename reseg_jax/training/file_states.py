"""The state of every file of a run and of a feature cache, and what can be mended.

Mending removes what can be computed again, sets damaged checkpoints aside and writes the files
that follow from a checkpoint anew. Nothing else is ever removed.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from reseg_jax.errors import UserError, first_line
from reseg_jax.files import images
from reseg_jax.training import epoch_logs, feature_files
from reseg_jax.training.checkpoints import Checkpoints, Damaged, Unreadable
from reseg_jax.training.leftovers import abandoned_parts
from reseg_jax.training.step import is_finite
from reseg_jax.training.trained import blank_state
from reseg_jax.training.workdir import describe

OK, DAMAGED, UNREADABLE = "ok", "damaged", "cannot be read now"
TEMPORARY = "temporary of a dead process"
OLD = "of an older version"


class State(NamedTuple):
    """How a file, or a checkpoint's folder, is.

    Attributes:
      path: of it.
      state: one of `OK`, `OLD`, `DAMAGED`, `UNREADABLE`, `TEMPORARY`.
      why: the reason, in words; "" if it is well.
      cure: what `mend` would do, in words; "" if it can do nothing.
      mend: does it, or None.
    """

    path: Path
    state: str
    why: str = ""
    cure: str = ""
    mend: Callable[[], object] | None = None

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong."""
        return self.state in (OK, OLD)


def of_features(directory: Path) -> Iterator[State]:
    """Every file of a feature cache.

    Raises:
      UserError: there is no such folder.
    """
    if not directory.is_dir():
        raise UserError(f"{directory} is no folder: check the path")
    for folder in (directory, *sorted(path for path in directory.rglob("*") if path.is_dir())):
        yield from _parts(folder)
    for path in sorted(directory.rglob("*.npy")):
        if path.name.startswith("."):
            continue
        try:
            why = feature_files.problem(path)
        except UserError as error:
            yield State(path, UNREADABLE, _reason(error, path))
            continue
        if why == feature_files.OLD:
            yield State(path, OLD, f"{why}: computed again when it is needed")
        elif why:
            yield State(path, DAMAGED, why, "removed: training computes it again", path.unlink)
        else:
            yield State(path, OK)


def of_workdir(workdir: Path, at_work: bool = False) -> Iterator[State]:
    """Every file of a run that training or evaluation wrote.

    Args:
      workdir: the folder.
      at_work: a training is at work there: what it writes meanwhile is left out.

    Raises:
      UserError: there is no such folder.
    """
    if not workdir.is_dir():
        raise UserError(f"{workdir} is no folder: check the path")
    about, state = _about(workdir)
    yield state
    checkpoints = Checkpoints(workdir / "checkpoints")
    yield from _parts(workdir)
    for path in sorted(workdir.glob("damaged_*")):
        yield State(path, OK, "set aside earlier")
    try:
        for path in () if at_work else checkpoints.temporaries():
            yield State(path, TEMPORARY, "", "cleared away", checkpoints.tidy)
        steps = checkpoints.steps()
    except Unreadable as error:
        yield State(checkpoints.directory, UNREADABLE, str(error))
        return
    sound, unsure = None, at_work
    for step in steps:
        state = _of_checkpoint(checkpoints, step, about and blank_state(about))
        sound = step if state.is_well else sound
        unsure |= state.state == UNREADABLE
        yield state
    if not unsure:  # else it is not known now what the logs should say
        notes = checkpoints.record(sound).notes if sound is not None else None
        yield from _of_logs(workdir, notes)
    yield from _of_results(workdir)


def _parts(folder):
    for path in abandoned_parts(folder):
        yield State(path, TEMPORARY, "", "removed", path.unlink)


def _about(workdir):
    path = workdir / "run.json"
    try:
        return describe(workdir), State(path, OK)
    except UserError as error:
        state = UNREADABLE if isinstance(error.__cause__, OSError) else DAMAGED
        return None, State(path, state, _reason(error, path))


def _of_checkpoint(checkpoints, step, like):
    path = checkpoints.directory / str(step)
    try:
        if like is None:
            checkpoints.record(step)
            return State(path, OK, "its record; its arrays are not checked without run.json")
        if not is_finite(checkpoints.restore(step, like).state):
            raise Damaged(f"{path}: it holds numbers that are not finite")
    except Damaged as error:
        cure = "set aside beside checkpoints/, as damaged_STEP_TIME"
        return State(path, DAMAGED, _reason(error, path), cure, lambda: checkpoints.set_aside(step))
    except Unreadable as error:
        return State(path, UNREADABLE, _reason(error, path))
    return State(path, OK)


def _of_logs(workdir, notes):
    """metrics.jsonl and times.jsonl, which say what the newest sound checkpoint says."""
    for name, key in ((epoch_logs.METRICS, "history"), (epoch_logs.TIMES, "times")):
        path = workdir / name
        if notes is None:
            if path.exists() and path.stat().st_size:
                aside = path.with_name(f"{path.stem}_{time.time_ns()}{path.suffix}")
                why = "there is no sound checkpoint that it belongs to"
                rename = _renaming(path, aside)
                yield State(path, DAMAGED, why, f"set aside as {path.stem}_TIME.jsonl", rename)
        elif key not in notes:
            yield State(path, OLD, "checkpoints of this run do not say what it holds")
        elif _agrees(path, key, notes[key]):
            yield State(path, OK)
        else:
            write = _writing(path, notes[key])
            why = "it is not what the newest sound checkpoint says"
            yield State(path, DAMAGED, why, "written anew from that checkpoint", write)


def _renaming(path, aside):
    return lambda: path.rename(aside)


def _writing(path, records):
    return lambda: epoch_logs.write(path, records)


def _agrees(path, key, records):
    """Whether a file says what a checkpoint does, as far as that reaches."""
    try:
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    except FileNotFoundError:
        lines = []
    except ValueError:
        return False
    if key == "times" and records and len(lines) >= len(records):
        # What saving took is known only after the checkpoint that says the rest.
        last = len(records) - 1
        lines[last] = {**lines[last], "val_and_save_seconds": records[-1]["val_and_save_seconds"]}
    return lines[: len(records)] == records


def _of_results(workdir):
    """What `experiments.evaluate --json` wrote, and pictures."""
    for path in sorted({*workdir.glob("*.json")} - {workdir / "run.json"}):
        try:
            json.loads(path.read_bytes())
            yield State(path, OK)
        except OSError as error:
            yield State(path, UNREADABLE, error.strerror)
        except (ValueError, RecursionError) as error:
            yield State(path, DAMAGED, f"{first_line(error)}; evaluate writes it again")
    for path in sorted(workdir.glob("pictures/*.png")):
        try:
            images.read_image(path)
            yield State(path, OK)
        except UserError as error:
            yield State(path, DAMAGED, f"{_reason(error, path)}; training draws it again")


def _reason(error, path):
    """An error's sentence without the path that it begins with."""
    return str(error).removeprefix(str(path)).lstrip(": ")
