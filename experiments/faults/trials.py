"""A trial: something is made to go wrong, and what the program does about it is judged."""

import logging
import traceback
from collections.abc import Callable
from typing import NamedTuple

from reseg_jax.errors import UserError, first_line
from reseg_jax.files import atomic

RIGHT, SAID = "right", "said"
"""The result that it would have been without the fault; one sentence that says what is wrong."""

SILENT, TRACEBACK, HANG, MEMORY = "silent", "traceback", "hang", "memory"
"""Another result without a word; any other error; no end in time; more memory than is allowed."""

FAILURES = (SILENT, TRACEBACK, HANG, MEMORY)


class Trial(NamedTuple):
    """One thing that goes wrong.

    Attributes:
      kind: of trials like it, for counting.
      what: goes wrong, in words by which it can be done again.
      run: does it. True if the result is what it would have been without, or all that may be asked
        of an input that is another one; False if it is not.
    """

    kind: str
    what: str
    run: Callable[[], bool]


def done(kind: str, what: str) -> Trial:
    """A trial that was run in another way, for its name."""
    return Trial(kind, what, bool)


class Verdict(NamedTuple):
    """What came of a trial.

    Attributes:
      outcome: `RIGHT`, `SAID` or one of `FAILURES`.
      words: what the program said, or the end of the traceback.
    """

    outcome: str
    words: str = ""


def judge(trial: Trial) -> Verdict:
    """Run a trial in this process, without limits, and see what comes of it."""
    log, warned = logging.getLogger("reseg_jax"), _Warned(logging.WARNING)
    log.addHandler(warned)
    try:
        right = trial.run()
    except Exception as error:
        return _of_error(error)
    finally:
        log.removeHandler(warned)
    if right:
        return Verdict(RIGHT)
    return Verdict(SAID if warned.lines else SILENT, "; ".join(warned.lines))


class _Warned(logging.Handler):
    """Keeps the warnings of the library, which a command prints."""

    def __init__(self, level):
        super().__init__(level)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def _of_error(error):
    if _lacks_memory(error):
        return Verdict(MEMORY, first_line(error))
    sentence = isinstance(error, UserError) and str(error) and "\n" not in str(error)
    # A command makes a sentence of these too (`cli.guarded`).
    refused = isinstance(error, OSError) and error.errno in atomic.ADVICE
    if sentence or refused:
        return Verdict(SAID, str(error))
    places = [
        f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)
    ]
    return Verdict(
        TRACEBACK, f"{type(error).__name__}: {first_line(error)} ({' '.join(places[-3:])})"
    )


def _lacks_memory(error):
    """Whether this error, or one that it was made of, is that the limit was reached."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False
