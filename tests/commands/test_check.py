"""`experiments.check`: what it prints, its exit code, and what --mend does."""

import shutil

import pytest

from reseg_jax.training.history import best_epoch, saved_history
from reseg_jax.training.workdir import lock
from tests.support.damage import flip
from tests.support.typed import refused

pytestmark = pytest.mark.slow


def test_a_damaged_run_is_named_mended_and_then_well(trained, run, home):
    workdir = shutil.copytree(trained[0], home / "to_mend")
    flip(workdir / "checkpoints" / "4" / "record" / "metadata")
    flip(workdir / "metrics.jsonl", 0.1)  # in its first line
    check = "check", f"--workdir={workdir}"
    finished = run(*check)
    refused(finished, "2 of ", " are not as they should be", "--mend mends 2")
    assert f"damaged             {workdir / 'checkpoints' / '4'}: " in finished.stdout
    assert f"ok                  {workdir / 'checkpoints' / '2'}\n" in finished.stdout
    with lock(workdir):
        refused(run(*check, "--mend"), "another training is at work")
        assert "a training is at work" in run(*check).stdout
    for flags in (("--mend",), ()):
        finished = run(*check, *flags)
        assert (finished.returncode, finished.stderr) == (0, "")


def test_the_lost_best_is_said_by_evaluate(trained, run, home):
    best = best_epoch(saved_history(trained[0]))["step"]
    workdir = shutil.copytree(trained[0], home / "lost_best")
    flip(workdir / "checkpoints" / str(best) / "record" / "metadata")
    finished = run("evaluate", f"--workdir={workdir}")
    assert finished.returncode == 0, finished.stderr
    assert "checkpoint best" not in finished.stdout
    assert f"has lost its best checkpoint, of step {best}" in finished.stderr


def test_a_dataset_is_read_as_training_reads_it(run, home):
    check = "check", "--dataset=camvid", f"--data_dir={home}"
    finished = run(*check)
    assert finished.returncode == 0, finished.stderr
    assert "camvid/train: 4 images" in finished.stdout
    image = home / "CamVid" / "val" / "frame0.png"
    sound = image.read_bytes()
    try:
        image.write_bytes(sound[:50])
        finished = run(*check)
    finally:
        image.write_bytes(sound)
    refused(finished, "1 of 2")
    assert str(image) in finished.stdout


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        ((), ("--workdir", "--cache_dir", "--dataset")),
        (("--workdir=/nowhere",), ("/nowhere",)),
        (("--cache_dir=/nowhere",), ("/nowhere",)),
    ],
)
def test_bad_flags_are_one_sentence(run, flags, parts):
    refused(run("check", *flags), *parts)
