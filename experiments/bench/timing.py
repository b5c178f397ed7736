"""Times that can be compared on a machine that is never quite quiet.

All programs run once per round, in a new random order each, so that what disturbs the
machine disturbs all of them; a ratio is taken within a round, and its median over the rounds.
"""

import random
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

# For example a loop in Python without jit, or torch with more threads than cores are free.
SLOW = 10


class FailedError(Exception):
    """What a program of another process said in place of a result, in one line."""


class Program(NamedTuple):
    """Something that can be timed.

    Attributes:
      run: runs it once, to the end of all its work, and returns the seconds.
      compile_seconds: tracing and compiling; None if nothing is compiled ahead.
      memory: temporary bytes of the compiled executable; None if they are unknown.
    """

    run: Callable[[], float]
    compile_seconds: float | None = None
    memory: int | None = None


def timed(function: Callable, *arguments) -> float:
    """Seconds of one call of `function`, which must wait for its own work to end."""
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


def rounds(
    programs: dict[str, Program],
    count: int,
    seconds: float,
    say: Callable[[str], None] = lambda line: None,
    seed: int = 0,
    warm: bool = False,
) -> dict[str, list[float]]:
    """Times all programs in rounds.

    A program that takes more than SLOW times the median of the first round is left out of later
    rounds, which it would fill. Every program should have run before.

    Args:
      programs: by name.
      count: rounds.
      seconds: after which no round begins, except the first.
      say: reports progress, one line.
      seed: of the order in each round.
      warm: a program runs twice in its turn, and the second time counts. For programs that are
        large and called repeatedly: the first call asks the system for the memory that another
        program gave back, which can take longer than the work.

    Returns:
      {name: [seconds in round 0, round 1, ...]}.
    """
    shuffle, started = random.Random(seed), time.monotonic()
    times = {name: [] for name in programs}
    playing = list(programs)
    for done in range(count):
        if done and time.monotonic() - started > seconds:
            break
        shuffle.shuffle(playing)
        for name in playing:
            if warm:
                programs[name].run()
            times[name].append(programs[name].run())
        if done == 0:
            limit = SLOW * np.median([seconds for (seconds,) in times.values()])
            playing = [name for name in playing if times[name][0] <= limit]
        say(f"round {done + 1} of {count}")
    return times


def shortlist(programs: dict[str, Program], keep: int) -> dict[str, Program]:
    """The `keep` fastest, by the best of two runs.

    A first run that takes more than SLOW times the fastest one is the only one.
    """
    first = {name: program.run() for name, program in programs.items()}
    limit = SLOW * min(first.values(), default=0.0)
    best = {
        name: min(first[name], program.run())
        for name, program in programs.items()
        if first[name] <= limit
    }
    return {name: programs[name] for name in sorted(best, key=best.get)[:keep]}


class Summary(NamedTuple):
    """Seconds and ratio of one program, see `summarize`."""

    median: float
    low: float
    high: float
    ratio: float


def summarize(times: Sequence[float], ours: Sequence[float]) -> Summary:
    """Median and quartiles of `times`, and the median over the rounds of time / our time.

    A ratio above 1 says that ours was faster. The lists are aligned by rounds; ratios are
    of the rounds that both have.
    """
    low, median, high = np.percentile(times, [25, 50, 75])
    ratios = [time / our for time, our in zip(times, ours, strict=False)]
    return Summary(float(median), float(low), float(high), float(np.median(ratios)))


def fastest(times: dict[str, Sequence[float]], names: Sequence[str]) -> str | None:
    """The one of `names` with the smallest median; None if none of them was timed."""
    timed_names = [name for name in names if times.get(name)]
    return min(timed_names, key=lambda name: np.median(times[name]), default=None)
