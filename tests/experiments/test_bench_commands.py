"""The benchmark's processes: a folder through a command, start-up, and how their tables read."""

import time

import pytest
from PIL import Image

from experiments.bench import commands, measuring, plot, report, startup, throughput
from experiments.bench.timing import FailedError

SLEEPS = "import time; print(1); time.sleep(60)"


def bench():
    deadline = time.monotonic() + 600
    return measuring.Bench(1, deadline, [], torch_compile=False, quick=True, say=print)


def test_a_process_is_timed_to_its_end():
    seconds, printed = commands.run(["-c", "print(1); print(2)"])
    assert [line for _, line in printed] == ["1", "2"]
    assert 0 < printed[0][0] <= printed[1][0] <= seconds


def test_a_process_is_timed_to_a_line():
    seconds, printed = commands.run(["-c", SLEEPS], lines=1)
    assert seconds == printed[0][0] < 60


@pytest.mark.parametrize(
    ("arguments", "lines", "message"),
    [
        (
            ["-c", "import sys; sys.exit('error: no such file')"],
            None,
            "code 1: error: no such file",
        ),
        (["-c", "print(1)"], 2, "code 0: 1"),
        (["-c", ""], 1, "code 0: nothing printed"),
    ],
)
def test_a_process_that_fails_says_why(arguments, lines, message):
    with pytest.raises(FailedError, match=message):
        commands.run(arguments, lines=lines)


def test_variables_reach_the_process():
    code = "import os; print(os.environ['RESEG_CACHE'])"
    assert commands.run(["-c", code], {"RESEG_CACHE": "here"})[1][0][1] == "here"


def test_frames_are_smooth_images(tmp_path):
    throughput.write_frames(tmp_path / "frames", 3, (48, 64))
    paths = sorted((tmp_path / "frames").iterdir())
    assert [path.name for path in paths] == [f"frame_{index:03}.png" for index in range(3)]
    assert {Image.open(path).size for path in paths} == {(64, 48)}
    assert len({path.read_bytes() for path in paths}) == 3


def test_frames_per_second_begin_after_the_start_up():
    code = "import time\nfor i in range(6): print(f'frame_{i}'); time.sleep(0.5 * (i > 2))"
    rates = []
    seconds = throughput.folder_seconds(["-c", code], 6, rates)
    assert seconds > 1 and rates[0] == pytest.approx(2, rel=0.5)  # two frames in a second


def test_seconds_of_a_statement():
    assert 0 <= startup.statement_program("pass").run() < 1
    assert 0.1 < startup.statement_program("time.sleep(0.1)", "x = 1").run() < 10


def made(**rows):
    """Rows of a section, each of (seconds in both rounds, what is known besides)."""
    return {
        name: {"seconds": [seconds] * 2, "compile_seconds": None, "memory": None, **more}
        for name, (seconds, more) in rows.items()
    }


def test_a_table_of_frames_per_second():
    rows = made(ours=(8.0, {"rates": [4.0, 4.0]}), torch=(16.0, {"rates": [1.0, 1.0]}))
    about = {"kind": "throughput", "frames": 16}
    table = report.table(
        measuring.Section("folder", rows, {"other": "it fails"}, about=about), 1, 1
    )
    assert "ours: 4.00 frames/s after start-up (1.00 x our time), 2.00 with it" in table
    assert "torch: 1.00 frames/s after start-up (4.00 x our time), 1.00 with it" in table
    assert "not run: other, because: it fails" in table


def test_a_table_without_ours_compares_with_its_first_row():
    rows = made(first=(2.0, {}), second=(3.0, {}))
    found = measuring.Section("start", rows, {}, about={"kind": "startup"}, reference="first")
    table = report.table(found, 1, 1)
    assert "x first" in table and "1.50" in table and "x ours" not in table
    assert report.as_json(found)["rows"]["second"]["ratio"] == 1.5


def test_a_picture_is_drawn_for_the_width_of_a_page(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    bars = measuring.Section("a; b", made(ours=(2.0, {})), {}, about={"kind": "conv"})
    curves = {"ours; forward": {"grids": [[4, 0.5], [8, 0.6]]}}
    start = measuring.Section("c", made(a=(2.0, {})), {}, about={"kind": "d"}, reference="a")
    compiled = measuring.Section("compile time", curves, {}, about={"kind": "compile"})
    plot.draw([bars, compiled, start], tmp_path / "plot.png")
    plot.draw([], tmp_path / "empty.png")
    assert Image.open(tmp_path / "plot.png").width == 1600  # twice 800


@pytest.mark.slow
def test_the_quick_throughput():
    found = throughput.section(bench(), seconds=600)
    assert set(found.not_run) <= {"torch"}
    assert found.rows["ours"]["rates"][0] > 0


@pytest.mark.slow
def test_the_quick_start_up():
    found = startup.section(bench(), seconds=600)
    assert found.not_run == {} and len(found.rows) >= 5
    started = startup.quick_start(bench(), seconds=0)  # three trainings would take minutes
    assert started.not_run == {"all": "no time left (--minutes)"}
