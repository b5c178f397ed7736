"""Silence for the threads of a library whose failure is reported as one sentence.

Orbax writes with threads and event loops. If a disk is full each of them prints its own traceback,
and the sentence that says what to do would stand among forty of them.
"""

import contextlib
import gc
import logging
import sys
import threading
import time
from collections.abc import Iterator

_SECONDS = 2.0  # that a thread gets to fail: it has only to notice that a file was not written
_MOMENT = 0.2  # the same for threads that Python does not know


@contextlib.contextmanager
def quiet_threads() -> Iterator[None]:
    """Nothing of what other threads and forgotten tasks fail with is printed meanwhile.

    If what is inside fails, the threads that it left are waited for: they have still to fail.
    """
    before = set(threading.enumerate())
    hooks = threading.excepthook, sys.unraisablehook, sys.excepthook
    # The last one is for threads of C++ that call back into Python.
    threading.excepthook = sys.unraisablehook = sys.excepthook = lambda *_: None
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio", "concurrent.futures")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    except BaseException:
        for thread in set(threading.enumerate()) - before:
            thread.join(_SECONDS)
        time.sleep(_MOMENT)
        gc.collect()  # tasks that were never awaited complain when they are collected: now
        raise
    finally:
        threading.excepthook, sys.unraisablehook, sys.excepthook = hooks
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
