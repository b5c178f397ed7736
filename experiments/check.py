"""Say in which state the files of a run, of a cache of features or of a dataset are, and mend them.

  python -m experiments.check --workdir=runs/camvid
  python -m experiments.check --workdir=runs/camvid --mend
  python -m experiments.check --cache_dir=$HOME/.cache/reseg_jax/features
  python -m experiments.check --dataset=camvid --data_dir=DIR

Reads every checkpoint and feature and compares checksums. With --mend, damaged features and
temporary files of dead processes are removed, damaged checkpoints are set aside (they are never
deleted), and metrics.jsonl and times.jsonl are written anew from the newest sound checkpoint. The
exit code is 0 if all is well (with --mend: afterwards), else 1.
"""

import collections
import contextlib
from collections.abc import Iterable
from pathlib import Path

from absl import flags

import data
from experiments import cli
from reseg_jax.errors import UserError
from reseg_jax.training import file_states
from reseg_jax.training.file_states import State
from reseg_jax.training.workdir import is_locked, lock

_WORKDIR = flags.DEFINE_string("workdir", None, "folder of a run")
_CACHE_DIR = flags.DEFINE_string("cache_dir", None, "folder of the features of frozen backbones")
_DATASET = flags.DEFINE_enum("dataset", None, data.NAMES, "images and labels")
_DATA_DIR = flags.DEFINE_string("data_dir", None, "folder of the dataset, as in training")
_DATA_OPTIONS = flags.DEFINE_multi_string("data_options", [], "name=value, as in training")
_MEND = flags.DEFINE_bool("mend", False, "mend what can be, and lose nothing")


def main(_):
    if not (_WORKDIR.value or _CACHE_DIR.value or _DATASET.value):
        raise UserError("give --workdir, --cache_dir or --dataset, or several of them")
    states = []
    if _WORKDIR.value:
        states += workdir(Path(_WORKDIR.value))
    if _CACHE_DIR.value:
        states += mended(file_states.of_features(Path(_CACHE_DIR.value)))
    if _DATASET.value:
        states += dataset(_DATASET.value)
    counts = collections.Counter(state.state for state in states)
    print(", ".join(f"{count} {state}" for state, count in counts.items()) or "nothing to check")
    left = [state for state in states if not state.is_well and not (_MEND.value and state.mend)]
    if left:
        curable = sum(state.mend is not None for state in left)
        hint = f"; --mend mends {curable} of them" if curable else ""
        raise UserError(f"{len(left)} of {len(states)} are not as they should be{hint}")


def workdir(folder: Path) -> list[State]:
    """The states of a run's files, mended if that was asked for.

    Raises:
      UserError: there is no run, or, with --mend, a training is at work in it.
    """
    if not folder.is_dir():
        raise UserError(f"--workdir={folder} is no folder: check the path")
    at_work = not _MEND.value and is_locked(folder)
    if at_work:
        print(f"a training is at work in {folder}: what it is writing now is left out")
    with lock(folder) if _MEND.value else contextlib.nullcontext():
        return mended(file_states.of_workdir(folder, at_work))


def dataset(name: str) -> list[State]:
    """The states of a dataset's splits, every file of which is read as training reads it."""
    options, found = data.parse_options(_DATA_OPTIONS.value), []
    for split in ("train", "val"):
        what = Path(name, split)
        try:
            count = len(data.load(name, split, _DATA_DIR.value, **options))
            found.append(State(what, file_states.OK, f"{count} images"))
        except UserError as error:
            found.append(State(what, file_states.DAMAGED, str(error)))
    return mended(found)


def mended(states: Iterable[State]) -> list[State]:
    """Print each state, with what is done or could be done about it."""
    found = []
    for state in states:
        found.append(state)
        print(f"{state.state:<19} {state.path}{f': {state.why}' if state.why else ''}")
        if state.mend and _MEND.value:
            state.mend()
            print(f"{'':<19} {state.cure}")
        elif state.mend:
            print(f"{'':<19} --mend: {state.cure}")
    return found


if __name__ == "__main__":
    cli.run(main)
