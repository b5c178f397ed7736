"""Trainings that are killed or asked to stop, at random or at the worst moments, and go on.

A chain is a training that is stopped several times, until it is let through. It must end with the
parameters, metrics and features of a training that nobody stopped, bit for bit.
"""

import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from experiments.faults.damage import fingerprint
from experiments.faults.forked import Forked
from experiments.faults.materials import Materials, sha256
from experiments.faults.trials import HANG, RIGHT, SAID, SILENT, TRACEBACK, Trial, Verdict, done
from reseg_jax.training import epoch_logs, file_states

SIGNALS = (*(signal.SIGKILL,) * 3, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What processes are sent; half of it cannot be caught."""

MOMENTS = {
    "at random": (),
    "within a save": ("checkpoints/*.orbax-checkpoint-tmp*",),
    "within a save or a removal": ("checkpoints/*.replaced", "checkpoints/*.removed"),
    "within a write": (".*.part", "*/.*.part", "*/*/.*.part"),
}
"""When: after a random time, or when there is a file of one of these names."""

STOPS = 5  # in a chain
_LEAVE = 30.0  # seconds between a signal and SIGKILL that Slurm and Kubernetes allow
_SLOWEST = 120.0  # seconds that a whole tiny training takes on a machine that is very busy
_PAUSE = 0.0005  # seconds between two looks: a rename is no longer


class Kind(NamedTuple):
    """A training.

    Attributes:
      name: of it.
      flags: function of (workdir, cache of features).
      workdir: of one that nobody stopped.
      cache: likewise, or None.
    """

    name: str
    flags: Callable[[Path, Path], tuple[str, ...]]
    workdir: Path
    cache: Path | None


def kinds(files: Materials) -> list[Kind]:
    """A training that saves after every update, and one that keeps features."""
    return [
        Kind("saves", lambda workdir, _: files.flags(workdir), files.workdir, None),
        Kind("features", files.cached_flags, files.cached, files.cache),
    ]


def chains(files: Materials, seed: str) -> Iterator[tuple[Trial, Verdict]]:
    """Chains without end: a verdict on every stop, and on what each chain ended with."""
    with Forked("train", files.environment()) as command:
        number = 0
        while True:
            for kind in kinds(files):
                yield from chain(command, files, kind, f"{seed}/{number}")
            number += 1


def chain(
    command: Forked, files: Materials, kind: Kind, seed: str
) -> Iterator[tuple[Trial, Verdict]]:
    """One training that is stopped `STOPS` times and then let through.

    Yields:
      A trial, which only says what was done, with its verdict: for every stop, and for the end.
    """
    rng = random.Random(f"{kind.name}/{seed}")
    workdir, cache = files.root / "killed", files.root / "killed_features"
    for folder in (workdir, cache):
        shutil.rmtree(folder, ignore_errors=True)
    flags, length = kind.flags(workdir, cache), _seconds(kind.workdir)
    for _ in range(STOPS):
        number, moment = rng.choice(SIGNALS), rng.choice(list(MOMENTS))
        trial, verdict = stop(command, flags, [workdir, cache], number, moment, rng, length)
        what = f"{trial.what}, seed {kind.name}/{seed}"
        if verdict is not None:
            yield trial._replace(what=what), verdict
    finished = command(*flags)
    yield (
        done("chain to the end", f"{kind.name}, seed {kind.name}/{seed}"),
        _of_end(finished, kind, workdir, cache),
    )


def stop(
    command: Forked,
    flags: tuple[str, ...],
    folders: list[Path],
    number: signal.Signals,
    moment: str,
    rng: random.Random,
    length: float = 5.0,
) -> tuple[Trial, Verdict | None]:
    """Start a training and send it a signal.

    Args:
      command: `experiments.train`.
      flags: of it.
      folders: that are watched: of the run and of its features.
      number: the signal.
      moment: of `MOMENTS`.
      rng: what is drawn from.
      length: seconds that the training takes.

    Returns:
      What was done, and the verdict; None if the training came to its end before.
    """
    trial = done(f"stop: {number.name} {moment}", f"{number.name} {moment}")
    began, started, patterns = time.monotonic(), time.time(), MOMENTS[moment]
    wait, skipped = rng.random() * length, rng.randrange(4)
    process = command.start(*flags)
    while not process.is_over():
        if time.monotonic() - began > _SLOWEST:
            process.signal(signal.SIGKILL)
            process.wait()
            return trial, Verdict(HANG, f"the training was not done after {_SLOWEST:g} s")
        # Until then modules are imported and flags read: what a signal does then is Python's.
        begun = number == signal.SIGKILL or _has_claimed(folders[0], started)
        if begun and time.monotonic() - began > (length if patterns else wait):
            break
        if begun and _has_any(folders, patterns):
            if not skipped:
                break
            skipped -= 1
            time.sleep(0.02)  # on to another file of such a name
        time.sleep(_PAUSE)
    process.signal(number)
    late = not process.is_over(_LEAVE)
    if late:
        process.signal(signal.SIGKILL)
    return trial, _of_stop(process.wait(), number, late)


def _has_any(folders, patterns):
    """Whether a file of such a name is there."""
    try:
        return any(any(folder.glob(pattern)) for folder in folders for pattern in patterns)
    except FileNotFoundError:  # the training has renamed a folder meanwhile
        return False


def _has_claimed(workdir, started):
    """Whether a training that was started then has written itself into its run.json."""
    try:
        return (workdir / "run.json").stat().st_mtime > started
    except FileNotFoundError:
        return False


def _of_stop(finished, number, late):
    if "Traceback" in finished.stderr or finished.returncode == 1:
        return Verdict(TRACEBACK, finished.stderr[-400:])
    if late:
        return Verdict(HANG, f"{number.name}: not gone after {_LEAVE:g} s")
    if finished.returncode == 0:
        return None
    if finished.returncode not in (-number, 128 + number):
        return Verdict(TRACEBACK, f"exit code {finished.returncode}: {finished.stderr[-400:]}")
    said = number.name in finished.stderr or "interrupted" in finished.stderr
    if finished.returncode > 0 and not said:
        return Verdict(SILENT, f"{number.name}: it says {finished.stderr[-200:]!r}")
    return Verdict(SAID, finished.stderr.strip().splitlines()[-1] if finished.stderr else "")


def _of_end(finished, kind, workdir, cache):
    if finished.returncode:
        return Verdict(TRACEBACK, f"exit code {finished.returncode}: {finished.stderr[-400:]}")
    if fingerprint(workdir) != fingerprint(kind.workdir):
        return Verdict(SILENT, "other parameters or metrics than those of a training without stops")
    if kind.cache and _digests(cache) != _digests(kind.cache):
        return Verdict(SILENT, "other features than those of a training without stops")
    left = [state for state in file_states.of_workdir(workdir) if not state.is_well]
    if left:
        return Verdict(SILENT, f"{left[0].path}: {left[0].state}, left behind")
    return Verdict(RIGHT)


def _digests(cache):
    """{path below a cache: digest} of every file, those half written, too."""
    files = [path for path in cache.rglob("*") if path.is_file()]
    return {path.relative_to(cache): sha256(path.read_bytes()) for path in files}


def _seconds(workdir):
    """About what a training takes, by one that nobody stopped; its start takes two."""
    lines = epoch_logs.read(workdir / epoch_logs.TIMES)
    return 2 + sum(line["train_seconds"] + line["val_and_save_seconds"] for line in lines)
