"""Progress: what is written where, and the rate and time left in it."""

import io

import pytest

from reseg_jax.training import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests set."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_plain_lines_come_now_and_then(clock):
    stream = io.StringIO()
    shown = progress.Progress("epoch 1/2", 100, stream=stream, seconds=60)
    for clock[0] in (120.0, 159.0, 161.0, 170.0):
        shown.add(10, "loss 3")
    # 30 images in 61 s; the 70 that are left take 142 s.
    assert stream.getvalue() == "epoch 1/2 30/100 images, 0.49/s, 2:22 left  loss 3\n"


def test_a_terminal_has_one_line_rewritten(clock):
    stream = Terminal()
    shown = progress.Progress("epoch 1/2", 4, stream=stream)
    for clock[0] in (101.0, 102.0):
        shown.add(1)
    shown.say("done")
    assert stream.getvalue() == (
        "\r\x1b[Kepoch 1/2 1/4 images, 1.00/s, 0:03 left"
        "\r\x1b[Kepoch 1/2 2/4 images, 1.00/s, 0:02 left"
        "\r\x1b[Kdone\n"
    )


def test_a_line_gives_way_to_others_on_a_terminal_only(clock):
    """And comes back with the next piece, however soon that is."""
    for stream, expected in (
        (Terminal(), "\r\x1b[Kother\n\r\x1b[Kepoch 1/4 images, 1.00/s, 0:03 left"),
        (io.StringIO(), "other\n"),
    ):
        shown = progress.Progress("epoch", 4, stream=stream)
        clock[0] += 1
        shown.shown = clock[0]
        shown.clear()
        print("other", file=stream)
        shown.add(1)
        assert stream.getvalue() == expected


def test_what_was_done_before_counts_as_done_but_not_in_the_rate(clock):
    shown = progress.Progress("epoch 1/2", 100, done=50, stream=io.StringIO())
    clock[0] += 10
    shown.add(20)
    assert shown.rate() == 2.0


def test_hours_are_told(clock):
    stream = io.StringIO()
    shown = progress.Progress("epoch", 10_000, stream=stream, seconds=1)
    clock[0] += 10
    shown.add(10)
    assert "2:46:30 left" in stream.getvalue()
