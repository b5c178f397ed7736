"""metrics.jsonl and times.jsonl: written whole, read as far as they are sound."""

import pytest

from reseg_jax.training import epoch_logs

LINES = [{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "loss": None}]


@pytest.mark.parametrize("more", [b"", b'{"epoch": 3, "lo', b"\xff\xfe\n", b"3\n", b"[" * 100_000])
def test_what_is_no_line_is_left_out(tmp_path, more):
    path = tmp_path / epoch_logs.TIMES
    epoch_logs.write(path, LINES)
    path.write_bytes(path.read_bytes() + more)
    assert epoch_logs.read(path) == LINES


def test_a_file_that_is_not_there_has_no_lines(tmp_path):
    assert epoch_logs.read(tmp_path / epoch_logs.METRICS) == []


def test_times_of_an_epoch():
    found = epoch_logs.times_of(3, 4.56789, 12.345, 6.789)
    assert found.pop("peak_memory_mib") > 10  # of this process
    assert found == {
        "epoch": 3,
        "train_seconds": 12.35,
        "val_and_save_seconds": 6.79,
        "images_per_second": 4.568,
    }
