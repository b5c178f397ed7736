"""What counts as said, silent, a traceback, a hang and too much memory."""

import errno
import logging
import subprocess
import sys

import pytest

from experiments.faults.forked import ROOT
from experiments.faults.report import Tally
from experiments.faults.trials import MEMORY, RIGHT, SAID, SILENT, TRACEBACK, Trial, Verdict, judge
from reseg_jax.errors import UserError


def raising(error):
    def run():
        raise error

    return run


def warned():
    logging.getLogger("reseg_jax.part").warning("it is another one")
    return False


def out_of_memory():
    try:
        raise MemoryError
    except MemoryError:
        raise UserError("it does not fit") from None


@pytest.mark.parametrize(
    ("run", "outcome"),
    [
        (lambda: True, RIGHT),
        (lambda: False, SILENT),
        (warned, SAID),
        (raising(UserError("this is wrong: do that")), SAID),
        (raising(UserError("two\nlines")), TRACEBACK),
        (raising(UserError("")), TRACEBACK),
        (raising(OSError(errno.ENOSPC, "full")), SAID),
        (raising(OSError(errno.EDOM, "no such reason")), TRACEBACK),
        (raising(KeyError("x")), TRACEBACK),
        (out_of_memory, MEMORY),
    ],
)
def test_verdicts(run, outcome):
    assert judge(Trial("kind", "what", run)).outcome == outcome


LIMITED = """
import os, time
from experiments.faults import children
from experiments.faults.trials import Trial
runs = [lambda: True, lambda: time.sleep(60), lambda: len(bytearray(1 << 30)) > 0,
        lambda: os.abort(), lambda: open("locked").read() == "", lambda: True]
trials = [Trial("", "", run) for run in runs]
open("locked", "w").close()
os.chmod("locked", 0)
found = children.run(trials, children.obey_permissions, seconds=1.0, memory=256 << 20)
print([verdict.outcome for _, verdict in found])
"""


@pytest.mark.slow
def test_limits_end_a_child_and_the_next_goes_on(tmp_path):
    """In a process of its own: one that has used JAX may not fork."""
    path = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", LIMITED]
    done = subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, text=True)
    expected = "['right', 'hang', 'memory', 'traceback', 'said', 'right']\n"
    assert done.stdout == expected, done.stderr


def test_a_tally_counts_and_keeps_failures():
    tally, trial = Tally(), Trial("input: a", "seed 1", bool)
    tally.add([(trial, Verdict(RIGHT)), (trial, Verdict(SILENT, "oh"))])
    assert tally.total("input") == 2 and tally.total("disk") == 0
    assert [verdict.words for _, verdict in tally.failures] == ["oh"]
    assert "| input: a | 2 | 1 |  | 1 |  |  |  |" in tally.table()
