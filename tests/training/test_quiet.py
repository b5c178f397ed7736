"""Silence: other threads' failures are not printed inside, and are again afterwards."""

import logging
import threading
import time

import pytest

from reseg_jax.training.quiet import quiet_threads


def fail(after):
    time.sleep(after)
    logging.getLogger("absl").error("a thread has failed")
    raise RuntimeError("Event loop is closed")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_threads_that_fail_late_are_waited_for(capfd):
    with pytest.raises(ValueError, match="disk"), quiet_threads():
        threading.Thread(target=fail, args=(0.2,)).start()
        raise ValueError("disk full")
    assert capfd.readouterr().err == ""


def test_hooks_are_given_back():
    before = threading.excepthook, logging.getLogger("absl").level
    with quiet_threads():
        assert threading.excepthook is not before[0]
    assert (threading.excepthook, logging.getLogger("absl").level) == before
