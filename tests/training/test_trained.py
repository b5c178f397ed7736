"""Loading a run: which checkpoint, and what is said of damaged and lost ones."""

import shutil

import pytest

from reseg_jax.errors import UserError
from reseg_jax.training import loop
from reseg_jax.training.checkpoints import Checkpoints
from reseg_jax.training.history import saved_history
from reseg_jax.training.trained import load_run
from tests.support import tiny
from tests.support.damage import flip
from tests.support.runs import damage, fit, record_file


def test_load_run_finds_best_latest_and_numbered(done):
    history = load_run(done, "latest").history
    assert load_run(done, "latest").step == 6
    assert load_run(done, "best").step == loop.best_epoch(history)["step"]
    assert load_run(done, "6").step == 6
    assert load_run(done).config == tiny.CONFIG
    with pytest.raises(UserError, match=r"no checkpoint 77: best, latest, or one of .*6"):
        load_run(done, "77")


@pytest.mark.slow
def test_no_readable_checkpoint_is_one_sentence(done, tmp_path):
    shutil.copytree(done, tmp_path / "run")
    for step in Checkpoints(tmp_path / "run" / "checkpoints").steps():
        damage(tmp_path / "run", step)
    with pytest.raises(UserError, match="no readable checkpoint"):
        load_run(tmp_path / "run")


def test_a_folder_without_a_run_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"holds no run .*experiments\.train --workdir"):
        load_run(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        load_run(tmp_path)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(network, done, tmp_path, caplog):
    workdir = tmp_path / "run"
    shutil.copytree(done, workdir)
    damage(workdir, 6)
    assert load_run(workdir, "latest").step == 4
    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "reseg_jax.training.trained")
    (error,) = record.args
    assert "checkpoints/6: unreadable checkpoint" in str(error)
    assert "falling back to the one before" in record.getMessage()
    fit(workdir, network)  # trains the lost epoch again
    assert (workdir / "metrics.jsonl").read_bytes() == (done / "metrics.jsonl").read_bytes()
    assert load_run(workdir, "latest").step == 6
    assert list(workdir.glob("damaged_6_*"))


def test_the_lost_best_checkpoint_is_said_and_no_other_is_called_best(copy, caplog):
    best = loop.best_epoch(saved_history(copy))["step"]
    assert load_run(copy).name == "best"
    assert not caplog.records
    flip(record_file(copy, best))
    run = load_run(copy)
    assert run.step != best
    assert run.name == str(run.step)
    assert f"{copy} has lost its best checkpoint, of step {best}" in caplog.text


def test_the_best_that_was_set_aside_is_still_missed(copy, caplog):
    checkpoints = Checkpoints(copy / "checkpoints")
    checkpoints.set_aside(loop.best_epoch(saved_history(copy))["step"])
    run = load_run(copy)
    assert run.name == str(run.step)
    assert "has lost its best checkpoint" in caplog.text


def test_a_newest_checkpoint_that_says_nothing_may_be_the_best(copy, caplog):
    """Nobody knows its score: metrics.jsonl is lost too."""
    flip(record_file(copy, 6))
    (copy / "metrics.jsonl").unlink()
    assert load_run(copy).name != "best"
    assert "lost its best checkpoint, of step 6" in caplog.text
