"""SIGTERM, SIGINT and SIGHUP: a training saves what it has not saved yet, and leaves.

What sends them waits for some seconds and then kills: Slurm for 30 (KillWait), Kubernetes for 30
(terminationGracePeriodSeconds). The exit code is 128 and the signal's number, as in the shells.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stop:
    """What a training looks at between its steps.

    Attributes:
      signum: the signal that asked it to stop, or None.
      unsaved: whether something would be lost by leaving at once; the training says so.
    """

    def __init__(self):
        self.signum: int | None = None
        self.unsaved = False

    def exit_code(self) -> int:
        """Of a process that this signal ended."""
        return 128 + self.signum

    def received(self, signum: int) -> bool:
        """Take note of a signal.

        Returns:
          Whether to leave at once: nothing is unsaved, or it is the second signal.
        """
        at_once = self.signum is not None or not self.unsaved
        self.signum = signum
        return at_once


@contextlib.contextmanager
def watched() -> Iterator[Stop]:
    """Signals reach the `Stop` that is yielded; those that the process ignores (nohup) do not.

    A thread receives them, since Python's own handlers wait for the main thread, which compiles
    for a minute at a time. For the main thread of a command.
    """
    stop = Stop()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    numbers = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    thread = threading.Thread(target=_receive, args=(reading, stop, numbers), daemon=True)
    thread.start()
    try:
        yield stop
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writing)  # the thread reads its end
        thread.join()
        os.close(reading)


def _receive(reading, stop, numbers):
    while byte := os.read(reading, 1):
        signum = byte[0]
        if signum not in numbers:
            continue
        name = signal.Signals(signum).name
        if stop.received(signum):
            _say(f"interrupted by {name}")
            os._exit(stop.exit_code())
        _say(f"{name}: saving, then leaving; a second signal leaves at once")


def _say(line):
    for stream, text in ((sys.stdout, ""), (sys.stderr, f"{line}\n")):
        with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
            stream.write(text)
            stream.flush()
