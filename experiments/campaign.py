"""Try to break what the other commands promise, for some minutes, and write down what came of it.

  python -m experiments.campaign --minutes=60
  python -m experiments.campaign --minutes=2 --seed=1 --output=/tmp/reliability.md

Trainings are killed, files damaged, disks filled, and every reader gets changed and hostile files;
experiments/faults/ has each kind. Everything lies in a temporary folder. The exit code is 0 if
everything was as promised, else 1. Some trials need Linux and the rights of its administrator, and
are left out without; `experiments.faults.trials` says what the verdicts mean.
"""

import contextlib
import os
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from absl import flags

from experiments import cli
from experiments.faults import children, damage, disks, hostile, kills, reader, readers, report
from experiments.faults.forked import Forked
from experiments.faults.materials import Materials
from reseg_jax import devices
from reseg_jax.errors import UserError
from reseg_jax.files import atomic

_MINUTES = flags.DEFINE_float("minutes", 60.0, "how long to try; a round is finished", 0.0)
_SEED = flags.DEFINE_integer("seed", 0, "of everything that is drawn", 0)
_OUTPUT = flags.DEFINE_string("output", "docs/reliability.md", "file to write the report to")
flags.adopt_module_key_flags(cli)

INPUTS = 40  # that every reader gets in a round, a quarter of which they then take


def main(_):
    if find_spec("safetensors") is None:
        raise UserError("every kind of weights is tried: pip install safetensors")
    tally, load, began = report.Tally(), os.getloadavg()[0], time.monotonic()
    left_out = ""
    try:
        with tempfile.TemporaryDirectory() as scratch:
            files = Materials(Path(scratch).resolve())
            files.configure()
            with Forked("train", files.environment()) as command:
                files.train(command)
                have_disks = disks.may_mount(files.root / "disk")
                if not have_disks:
                    left_out = "disks that are full or read-only, which may not be made here"
                with children.Child(lambda: kills.chains(files, str(_SEED.value))) as stops:
                    rounds(files, command, have_disks, stops, tally, began + 60 * _MINUTES.value)
    finally:  # an hour of trials is not lost to a mistake in one of them
        minutes = (time.monotonic() - began) / 60
        text = report.write(tally, _SEED.value, _MINUTES.value, minutes, load, left_out)
        atomic.write_file(_OUTPUT.value, text.encode())
    print(f"{tally.summary()}; {minutes:.1f} minutes, report in {_OUTPUT.value}")
    if tally.failures:
        raise UserError(f"{len(tally.failures)} trials failed: {_OUTPUT.value} lists them")


def rounds(
    files: Materials,
    command: Forked,
    have_disks: bool,
    stops: children.Child,
    tally: report.Tally,
    end: float,
) -> None:
    """All kinds of trials, round after round, until the monotonic clock shows `end`."""
    subjects = damage.Subjects(files)
    all_readers = readers.of_files(files) + readers.of_runs(files)

    def prepare():
        children.obey_permissions()
        devices.use_all()
        subjects.prepare()

    def prepare_readers():
        reader.read_right_files(all_readers, files.root)

    number = 0
    while number == 0 or time.monotonic() < end:
        seeds = [f"{_SEED.value}/{number}/{index}" for index in range(INPUTS)]
        inputs = [reader.trial(each, seed, files.root) for each in all_readers for seed in seeds]
        damages = [
            subjects.trial(subject, seed)
            for subject in subjects.all
            for seed in seeds[: subject.share]
        ]
        harmful = hostile.trials(files.root) if number == 0 else []
        for judged in (
            children.run(harmful + inputs, prepare_readers),
            children.run(damages, prepare),
            disks.trials(command, files, f"{_SEED.value}/{number}", have_disks),
            what_came(stops),
        ):
            if number and time.monotonic() > end:
                break
            tally.add(shown(judged))
        number += 1
        print(f"round {number}: {tally.summary()}", file=sys.stderr, flush=True)
    tally.add(shown(what_came(stops)))


def what_came(stops: children.Child):
    """What the chains of stops have sent meanwhile."""
    with contextlib.suppress(children.Late):
        while True:
            yield stops.next(0.0)


def shown(judged):
    """The same trials; those that failed are printed."""
    for trial, verdict in judged:
        if verdict.outcome in report.FAILURES:
            line = f"{verdict.outcome}: {trial.kind}, {trial.what}: {verdict.words}"
            print(line, file=sys.stderr, flush=True)
        yield trial, verdict


if __name__ == "__main__":
    cli.run(main, computes=False)
