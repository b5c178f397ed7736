"""Processes as programs to time: from their start to their last line, or to an earlier one."""

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from experiments.bench.timing import FailedError

ROOT = pathlib.Path(__file__).resolve().parents[2]


def run(arguments: list[str], environment: dict | None = None, lines: int | None = None):
    """Runs Python, and says when it printed what.

    Args:
      arguments: of Python, as ["-m", "experiments.train"].
      environment: variables that are added to this process's.
      lines: after which the process is killed; None waits for its end.

    Returns:
      (seconds from the start to the end, or to the last of `lines`, [(seconds, line), ...] of
      what it printed to either stream).

    Raises:
      FailedError: it ended with an error, or before it had printed `lines`.
    """
    printed, started = [], time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment or {}), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout:
            printed.append((time.perf_counter() - started, line.rstrip()))
            if len(printed) == lines:
                process.kill()
                break
    seconds = printed[-1][0] if lines and printed else time.perf_counter() - started
    if len(printed) < (lines or 0) or (lines is None and process.returncode):
        last = printed[-1][1] if printed else "nothing printed"
        raise FailedError(f"its process ended with code {process.returncode}: {last}")
    return seconds, printed


@contextlib.contextmanager
def folder():
    """A temporary folder, whose files may still be written when it goes."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as path:
        yield pathlib.Path(path)
