"""A training run in its folder, the workdir: what it is, and who is at work in it.

workdir/run.json        preset, network, classes and settings; versions, machine and commit of each
                        start; a checksum of all that
workdir/metrics.jsonl   one line per epoch; equal for equal runs
workdir/times.jsonl     one line per epoch: seconds, images/s, peak memory
workdir/checkpoints/    of the two newest epochs and the best, and the newest within one
"""

import contextlib
import dataclasses
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from reseg_jax import saving
from reseg_jax.errors import UserError, first_line
from reseg_jax.files import atomic, config_json
from reseg_jax.labels import Classes
from reseg_jax.networks.base import NetworkConfig
from reseg_jax.training import provenance, run_json, settings
from reseg_jax.training.settings import TrainSettings

# What may change between two calls of one run: how long it lasts and where the data lies.
_FREE = ("epochs", "patience", "patience_from", "min_epochs", "keep", "data_dir")
# Options of a dataset that say where its files are; which files they are is another check.
PLACES = ("images", "labels", "classes", "label_pattern", "lists")


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
