"""Temporary files: those of dead processes are found, those of processes at work are not."""

import os

import pytest

from reseg_jax.training.leftovers import abandoned_parts
from tests.support.damage import abandoned_file


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, True),
        ({"process": 1 << 40}, True),  # no number that a system gives
        ({"process": os.getppid()}, False),
        ({"process": os.getpid()}, True),  # left by one that had our number before us
        ({"age": 0.0}, False),  # perhaps of another machine, and at work
    ],
)
def test_only_what_nobody_writes_any_more_is_found(tmp_path, options, found):
    left = abandoned_file(tmp_path, **options)
    assert list(abandoned_parts(tmp_path)) == [left] * found


def test_other_files_are_left_alone(tmp_path):
    for name in ("a.part", ".a.part", ".a.12x.part", "a.npy"):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (0, 0))
    assert not list(abandoned_parts(tmp_path))
    assert not list(abandoned_parts(tmp_path / "nowhere"))
