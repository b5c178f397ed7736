"""What a campaign counted, and the document that says so."""

import collections
import contextlib
import platform
import textwrap
from collections.abc import Iterable
from importlib import metadata

from experiments.faults.trials import FAILURES, RIGHT, SAID, Trial, Verdict
from reseg_jax.training.provenance import commit, cores, processor

_OUTCOMES = (RIGHT, SAID, *FAILURES)
_PACKAGES = ("jax", "flax", "orbax-checkpoint", "numpy", "pillow", "h5py", "safetensors")

_PROMISES = """\
- **A training that is killed or asked to stop goes on where it was**: it ends with the parameters,
  metrics and features of one that nobody stopped, bit for bit, and leaves nothing half written.
  After SIGTERM, SIGINT and SIGHUP it saves and is gone within the 30 seconds that Slurm and
  Kubernetes allow.
- **A damaged file is noticed**: the result is the one without the damage, or one sentence says what
  is wrong. Photos as JPEG and tables of classes carry no checksum: of them only an end without a
  traceback is asked here.
- **A full or read-only disk is one sentence**, and the same command goes on when there is room.
- **No file from elsewhere** makes a traceback, runs anything, writes outside its folder, takes more
  than 10 seconds or adds more than 2 GiB of memory.
"""


class Tally:
    """Verdicts, counted by kind.

    Attributes:
      counts: {kind: {outcome: count}}.
      failures: the trials that failed, with their verdicts.
    """

    def __init__(self):
        self.counts = collections.defaultdict(collections.Counter)
        self.failures: list[tuple[Trial, Verdict]] = []

    def add(self, judged: Iterable[tuple[Trial, Verdict]]) -> None:
        """Count trials as they come."""
        for trial, verdict in judged:
            self.counts[trial.kind][verdict.outcome] += 1
            if verdict.outcome in FAILURES:
                self.failures.append((trial, verdict))

    def total(self, group: str = "", outcomes: Iterable[str] = _OUTCOMES) -> int:
        """Trials of the kinds that begin with `group`, of some outcomes."""
        kinds = [counts for kind, counts in self.counts.items() if kind.startswith(group)]
        return sum(counts[outcome] for counts in kinds for outcome in outcomes)

    def summary(self) -> str:
        """A line of the counts."""
        groups = ("stop", "damage", "input", "hostile", "disk")
        done = ", ".join(f"{self.total(group)} of {group}" for group in groups)
        return f"{done}, {self.total('chain')} chains; {self.found()}"

    def found(self) -> str:
        """How many of each kind of failure."""
        return ", ".join(f"{self.total('', [outcome])} {outcome}" for outcome in FAILURES)

    def table(self) -> str:
        """In Markdown: a line per kind."""
        lines = [f"| what | trials | {' | '.join(_OUTCOMES)} |", "|---|" + "---|" * 7]
        for kind, counts in sorted(self.counts.items()):
            cells = [str(counts[outcome] or "") for outcome in _OUTCOMES]
            lines.append(f"| {kind} | {counts.total()} | {' | '.join(cells)} |")
        return "\n".join(lines)


def _version(name):
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(name)


def _line(trial, verdict):
    words = " ".join(verdict.words.split())[:300]
    return f"- {verdict.outcome}: {trial.kind}, {trial.what}: `{words}`"


def write(tally: Tally, seed: int, asked: float, minutes: float, load: float, left_out: str) -> str:
    """The document.

    Args:
      tally: what was counted.
      seed: of the campaign.
      asked: minutes that it was to take.
      minutes: that it took.
      load: of the machine at its beginning, by other programs.
      left_out: what could not be tried here, in a sentence; "" if everything was.
    """
    there = {name: version for name in _PACKAGES if (version := _version(name))}
    versions = ", ".join(f"{name} {version}" for name, version in there.items())
    machine = (
        f"on {processor()}, {cores()} cores (load {load:.1f} by other programs when it began), "
        f"Python {platform.python_version()}, {versions}; commit {commit() or 'unknown'}. It took "
        f"{minutes:.1f} minutes. The same seed draws the same faults again, as many as there is "
        "time for."
    )
    failures = "\n".join(_line(trial, verdict) for trial, verdict in tally.failures)
    count_readers = sum(kind.startswith("input") for kind in tally.counts)
    return (
        f"""\
# Reliability

What a campaign of faults did to the commands, and what came of it. Written by

    python -m experiments.campaign --minutes={asked:g} --seed={seed}

{textwrap.fill(machine, 100)}

## Promised

{_PROMISES}
## Done

- {tally.total("stop")} trainings stopped by SIGKILL, SIGTERM, SIGINT or SIGHUP, at random or
  inside saves, renames and writes, in {tally.total("chain")} chains that were then let through;
- {tally.total("damage")} files of runs, datasets and caches damaged (a bit flipped, cut, emptied,
  zeroed, unreadable, gone), each followed by the functions of the commands;
- {tally.total("input")} changed inputs for {count_readers} readers;
- {tally.total("hostile")} files made to do harm;
- {tally.total("disk")} trainings on disks that are full or read-only, or were.
{f"{chr(10)}Left out: {left_out}.{chr(10)}" if left_out else ""}
"right" is the result without the fault (or, for a changed input, one that such a file may have),
"said" one sentence, "silent" another result without a word, "traceback" any other error, "hang" no
end within 10 seconds, "memory" more than 2 GiB.

{tally.table()}

## Found

{tally.total("", FAILURES)} failures: {tally.found()}.

{failures}
""".rstrip()
        + "\n"
    )
