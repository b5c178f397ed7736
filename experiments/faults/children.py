"""Trials in forked processes, with limits on time and memory: nothing that they do is left behind.

A fork has all that its parent has imported, so that thousands of trials fit into minutes. For a
parent that has no thread and has not used JAX yet.
"""

import contextlib
import ctypes
import os
import pickle
import resource
import select
import signal
import struct
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from experiments.faults import trials as judging
from experiments.faults.trials import HANG, MEMORY, TRACEBACK, Trial, Verdict

SECONDS = 10.0
"""That a trial may take: issue 18's limit."""

MEMORY_BYTES = 2 << 30
"""That a trial may add to what its process had: the same."""

_PREPARING = 300.0  # seconds; a first computation compiles, on a machine that may be busy
_PATIENCE = 6  # times the limit of a trial: on a busy machine a child waits for its turn
_CAPABILITIES_VERSION = 0x20080522  # of the third form of capset (linux/capability.h)
_LENGTH = struct.Struct("<I")


class Late(Exception):
    """A child has not said anything in time."""


class Ended(Exception):
    """A child has ended; its exit code, negative for a signal, is the argument."""


class Child:
    """A forked process that sends what an iterator gives; a context manager that ends it.

    Args:
      items: makes the iterator, in the child.
    """

    def __init__(self, items: Callable[[], Iterable]):
        self._reading, writing = os.pipe()
        self.process = os.fork()
        if not self.process:
            os.close(self._reading)
            _send_all(items, writing)
        os.close(writing)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._reading)
        if self.process:
            with contextlib.suppress(ProcessLookupError):  # it has not come to its first line
                os.killpg(self.process, signal.SIGKILL)
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)

    def next(self, seconds: float):
        """The next thing that the child sends.

        Raises:
          Late: it has not begun to send it within `seconds`.
          Ended: there is no child any more.
          RuntimeError: the iterator failed, which no trial can make it do.
        """
        if not select.select([self._reading], [], [], seconds)[0]:
            raise Late
        found = pickle.loads(self._read(_LENGTH.unpack(self._read(_LENGTH.size))[0]))
        if isinstance(found, _Failed):
            raise RuntimeError(f"in a child: {found.traceback}")
        return found

    def computed(self) -> float:
        """Seconds of a processor that it has used; 0 where the system does not say."""
        try:
            with open(f"/proc/{self.process}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")  # utime, stime

    def _read(self, count):
        found = b""
        while len(found) < count:
            part = os.read(self._reading, count - len(found))
            if not part:
                _, status = os.waitpid(self.process, 0)
                self.process = None
                raise Ended(os.waitstatus_to_exitcode(status))
            found += part
        return found


def _send_all(items, writing):
    code = 1
    try:
        os.setsid()  # what it starts can be ended with it
        silence = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(silence, number)
        with open(writing, "wb") as file:
            for content in _packed(items):
                file.write(_LENGTH.pack(len(content)) + content)
                file.flush()
        code = 0
    finally:
        os._exit(code)


class _Failed(NamedTuple):
    """The last thing that a child sends if its iterator raises."""

    traceback: str


def _packed(items):
    try:
        for item in items():
            yield pickle.dumps(item)
    except Exception:
        yield pickle.dumps(_Failed(traceback.format_exc()))


def run(
    trials: Sequence[Trial],
    prepare: Callable[[], object] = lambda: None,
    seconds: float = SECONDS,
    memory: int = MEMORY_BYTES,
) -> Iterator[tuple[Trial, Verdict]]:
    """Run trials one after another in a child, and in another one after each that ends it.

    Args:
      trials: to run.
      prepare: what the child does before its first one, which has more time.
      seconds: that each may take.
      memory: bytes that a trial may add to those of the process, as addresses or as pages.

    Yields:
      Each trial with its verdict.
    """
    done = 0
    while done < len(trials):
        rest = trials[done:]
        with Child(lambda rest=rest: _judged(rest, prepare, memory)) as child:
            child.next(_PREPARING)
            for trial in rest:
                verdict, goes_on = _wait(child, seconds)
                done += 1
                yield trial, verdict
                if not goes_on:
                    break


def _wait(child, seconds):
    """(verdict, whether the child can go on).

    What computes is late after `seconds` of its own; what waits is, after `_PATIENCE` times that.
    """
    before = child.computed()
    try:
        for _ in range(_PATIENCE):
            with contextlib.suppress(Late):
                verdict = child.next(seconds)
                break
            if child.computed() - before >= 0.9 * seconds:  # the clock and the count differ a bit
                raise Late
        else:
            raise Late
    except Late:
        return Verdict(HANG, f"no end after {seconds:g} s"), False
    except Ended as error:
        return Verdict(TRACEBACK, f"the process ended with {error}"), False
    return verdict, verdict.outcome != MEMORY


def _judged(trials, prepare, memory):
    prepare()
    room = _addresses() + memory
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    yield None
    for trial in trials:
        before = _peak()
        verdict = judging.judge(trial)
        if verdict.outcome != MEMORY and _peak() - before > memory:
            verdict = Verdict(MEMORY, f"{(_peak() - before) >> 20} MiB")
        yield verdict


def _addresses():
    """Bytes of the addresses that this process uses; 0 where the system does not say."""
    with contextlib.suppress(OSError), open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _peak():
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, kilobytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def obey_permissions() -> None:
    """Give up what makes permissions void for the system's administrator; for a process's start."""
    if sys.platform == "linux" and os.geteuid() == 0:
        header = struct.pack("<Ii", _CAPABILITIES_VERSION, 0)
        if ctypes.CDLL(None, use_errno=True).capset(header, bytes(24)):
            raise OSError(ctypes.get_errno(), "capabilities cannot be given up")
