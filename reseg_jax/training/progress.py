"""Telling how far a run is: one line rewritten on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from typing import TextIO


class Progress:
    """Reports on `total` equal pieces of work, with their rate and the time left.

    On a terminal the line is rewritten a few times a second; elsewhere a plain line is written
    every `seconds`. Lines of their own (`say`) stay.
    """

    def __init__(
        self,
        what: str,
        total: int,
        unit: str = "images",
        done: int = 0,
        stream: TextIO | None = None,
        seconds: float = 60.0,
    ):
        self.what, self.total, self.unit, self.done = what, total, unit, done
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.every = 0.2 if self.live else seconds
        self.first = done
        self.started = self.shown = time.monotonic()

    def rate(self) -> float:
        """Pieces a second since the start."""
        return (self.done - self.first) / max(time.monotonic() - self.started, 1e-9)

    def add(self, pieces: int, note: str = "") -> None:
        """`pieces` more are done."""
        self.done += pieces
        now = time.monotonic()
        if now - self.shown < self.every:
            return
        self.shown = now
        rate = self.rate()
        left = _clock((self.total - self.done) / rate) if rate else "?"
        line = f"{self.what} {self.done}/{self.total} {self.unit}, {rate:.2f}/s, {left} left"
        self._write(f"{line}  {note}".rstrip(), stays=not self.live)

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self._write(line, stays=True)

    def clear(self) -> None:
        """Take the line off a terminal, before something else is printed; `add` puts it back."""
        if self.live:
            self._write("", stays=False)
            self.shown -= self.every

    def _write(self, line, stays):
        start = "\r\x1b[K" if self.live else ""  # back to the start of the line, and clear it
        # A terminal that was closed must not end what is reported on.
        with contextlib.suppress(OSError):
            print(f"{start}{line}", end="\n" if stays else "", file=self.stream, flush=True)


def _clock(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
