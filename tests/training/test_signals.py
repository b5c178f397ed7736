"""Signals: what is unsaved is saved first, what is not leaves at once, nohup stays nohup."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reseg_jax.training.signals import Stop, watched

ROOT = Path(__file__).parents[2]
SCRIPT = """
import signal, sys, time
sys.path.append("reseg_jax/training")  # without the package, which imports JAX
import signals
for number in (signal.SIGINT, signal.SIGHUP):  # a shell's background job ignores the first
    signal.signal(number, signal.SIG_IGN if "ignored" in sys.argv else signal.SIG_DFL)
with signals.watched() as stop:
    stop.unsaved = "unsaved" in sys.argv
    print("ready", flush=True)
    while stop.signum is None:
        time.sleep(0.01)
    time.sleep(float(sys.argv[-1]))  # saving
raise SystemExit(stop.exit_code())
"""


@pytest.fixture
def process():
    """`process(arguments)` -> a process that waits for signals."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-S", "-c", SCRIPT, *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        found = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)
        started.append(found)
        assert found.stdout.readline() == "ready\n"
        return found

    yield start
    for each in started:
        each.kill()
        each.communicate()


def test_a_stop_leaves_at_once_if_nothing_is_unsaved_or_at_the_second_signal():
    assert Stop().received(15)
    stop = Stop()
    stop.unsaved = True
    assert not stop.received(15)
    assert stop.exit_code() == 143
    assert stop.received(2)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130), ("SIGHUP", 129)])
def test_a_signal_reaches_what_is_unsaved(process, name, code):
    found = process("unsaved", "0")
    found.send_signal(getattr(signal, name))
    assert found.wait(10) == code
    assert found.stderr.read() == f"{name}: saving, then leaving; a second signal leaves at once\n"


def test_a_second_signal_does_not_wait(process):
    found = process("unsaved", "60")
    found.send_signal(signal.SIGTERM)
    assert "saving" in found.stderr.readline()
    found.send_signal(signal.SIGINT)
    assert found.wait(10) == 130


def test_nothing_unsaved_leaves_at_once(process):
    found = process("60")
    found.send_signal(signal.SIGTERM)
    assert found.wait(10) == 143
    assert found.stderr.read() == "interrupted by SIGTERM\n"


def test_what_nohup_ignores_stays_ignored(process):
    found = process("ignored", "unsaved", "0")
    found.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert found.poll() is None
    found.send_signal(signal.SIGTERM)
    assert found.wait(10) == 143


def test_handlers_are_given_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with watched():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert signal.set_wakeup_fd(-1) == -1
