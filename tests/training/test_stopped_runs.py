"""Runs that are killed, stopped by a signal, made longer or moved go on as if nothing had been."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.errors import UserError
from reseg_jax.training import loop
from reseg_jax.training.checkpoints import Checkpoints
from reseg_jax.training.history import saved_history
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.step import create_state
from reseg_jax.training.trained import load_run
from tests.support import tiny
from tests.support.damage import abandoned_file, cannot_be_read, flip
from tests.support.runs import SETTINGS, fit, leaves, record_file


class Interrupted(Exception):
    pass


def interrupting(train_step, after):
    """`train_step` that a kill stops at its call number `after` (from 1)."""
    calls = iter(range(1, after))

    def step(state, batch):
        if next(calls, None) is None:
            raise Interrupted
        return train_step(state, batch)

    return step


@pytest.mark.parametrize("killed_at", [2, 3, 4, 6])
def test_a_stopped_run_resumes_as_if_it_had_not_been(network, done, tmp_path, killed_at, caplog):
    with pytest.raises(Interrupted):
        step = interrupting(network[1], killed_at)
        fit(tmp_path, network, train_step=step, save_minutes=0)  # saves after every step
    assert Checkpoints(tmp_path / "checkpoints").steps()[-1] == killed_at - 1
    with caplog.at_level("INFO", "reseg_jax"):
        fit(tmp_path, network)
    assert f"resuming {tmp_path} at step {killed_at - 1}" in caplog.text
    # Lazily: the arguments are formatted by whoever shows the message, if anyone does.
    (record,) = (record for record in caplog.records if record.name == loop.__name__)
    assert (record.levelname, record.args) == (
        "INFO",
        (tmp_path, killed_at - 1, (killed_at - 1) / 2),
    )
    assert (tmp_path / "metrics.jsonl").read_bytes() == (done / "metrics.jsonl").read_bytes()
    for ours, theirs in zip(
        leaves(load_run(tmp_path, "latest")),
        leaves(load_run(done, "latest")),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_metrics_hold_every_epoch(done):
    lines = [json.loads(line) for line in (done / "metrics.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 2), (2, 4), (3, 6)]
    assert all(0 <= line["val"]["miou"] <= 1 for line in lines)
    assert len((done / "times.jsonl").read_text().splitlines()) == 3


def test_more_epochs_continue_a_finished_run(network, done, tmp_path):
    shutil.copytree(done, tmp_path / "run")
    history = fit(tmp_path / "run", network, dataclasses.replace(SETTINGS, epochs=4))
    assert [record["epoch"] for record in history] == [1, 2, 3, 4]


def test_other_frozen_weights_are_refused(tmp_path):
    optimizer, train_step, predict_step = tiny.steps(tiny.VGG_CONFIG)
    for seed, accepted in ((0, True), (0, True), (1, False)):
        variables = api.init(tiny.VGG_CONFIG, jax.random.key(0))
        if seed:
            variables["frozen"] = jax.tree.map(lambda x: x + 1, variables["frozen"])
        state = create_state(variables, optimizer)
        batches = tiny.Batches(), tiny.Batches()
        arguments = (tmp_path, SETTINGS, state, train_step, predict_step, *batches, 2)
        if accepted:
            loop.fit(*arguments)
        else:
            with pytest.raises(UserError, match="trained over other weights of its backbone"):
                loop.fit(*arguments)


def test_patience_ends_a_run_that_no_longer_improves(network, tmp_path):
    settings = TrainSettings(epochs=50, batch_size=2, patience=2, min_epochs=3)

    def idle(state, batch):
        return state._replace(step=state.step + 1), jax.numpy.float32(1)

    history = fit(tmp_path, network, settings, train_step=idle)
    assert len(history) == 3  # the first epoch is the best; two more, and the minimum is met


def test_saving_to_a_full_disk_keeps_what_there_is(network, done, tmp_path, monkeypatch):
    shutil.copytree(done, tmp_path / "run")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.save", full)
    longer = dataclasses.replace(SETTINGS, epochs=4)
    with pytest.raises(UserError, match=r"No space left.*last good checkpoint is of step 6"):
        fit(tmp_path / "run", network, longer)


def tree(workdir):
    return {
        path.relative_to(workdir): path.read_bytes()
        for path in workdir.rglob("*")
        if path.is_file() and "checkpoints" in path.parts
    }


def test_no_run_begins_again_over_checkpoints_that_cannot_be_read_now(network, copy):
    before = (copy / "metrics.jsonl").read_bytes()
    steps = Checkpoints(copy / "checkpoints").steps()
    cannot_be_read(record_file(copy, steps[-1]))
    sound = tree(copy)
    with pytest.raises(UserError, match=r"checkpoints/6 cannot be read now"):
        fit(copy, network, dataclasses.replace(SETTINGS, epochs=4))
    for which in ("best", "latest", "6"):
        if which != "best" or loop.best_epoch(saved_history(copy))["step"] == 6:
            with pytest.raises(UserError, match="cannot be read now"):
                load_run(copy, which)
    assert (copy / "metrics.jsonl").read_bytes() == before
    assert tree(copy) == sound
    assert not list(copy.glob("damaged_*"))


@pytest.mark.parametrize("how", ["damaged", "gone", "not mounted"])
def test_no_run_begins_again_without_the_users_word(network, copy, how, tmp_path):
    checkpoints = copy / "checkpoints"
    if how == "damaged":
        for step in Checkpoints(checkpoints).steps():
            flip(record_file(copy, step))
    else:
        checkpoints.rename(tmp_path / "elsewhere")
    if how == "not mounted":
        checkpoints.symlink_to(tmp_path / "mount")
    wanted = "mount the disk again" if how == "not mounted" else r"experiments\.check .* --mend"
    before = (copy / "metrics.jsonl").read_bytes()
    with pytest.raises(UserError, match=wanted):
        fit(copy, network)
    assert (copy / "metrics.jsonl").read_bytes() == before
    assert not list(copy.glob("damaged_*"))


class Asked:
    """A `Stop` that a signal reaches at the `at`-th look."""

    def __init__(self, at):
        self.looks, self.at, self.unsaved = 0, at, False

    @property
    def signum(self):
        self.looks += 1
        return 15 if self.looks >= self.at else None

    def exit_code(self):
        return 143


@pytest.mark.parametrize("at", range(1, 12))
def test_a_signal_at_any_moment_saves_all_and_loses_nothing(network, done, tmp_path, at):
    """Within an epoch, at its end, in validation, before the next."""
    stop = Asked(at)
    try:
        fit(tmp_path, network, stop=stop)
    except SystemExit as left:
        assert left.code == 143
        assert not stop.unsaved
    fit(tmp_path, network)
    assert (tmp_path / "metrics.jsonl").read_bytes() == (done / "metrics.jsonl").read_bytes()
    for ours, theirs in zip(
        leaves(load_run(tmp_path, "latest")), leaves(load_run(done, "latest")), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert len((tmp_path / "times.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize("notes", [{}, {"seconds": 0.0}], ids=["an older version", "no time"])
def test_an_epoch_whose_time_is_not_known_is_finished(network, done, tmp_path, notes):
    """All its steps were made by a process that left no time."""
    with pytest.raises(SystemExit):
        fit(tmp_path, network, stop=Asked(3))
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    restored = checkpoints.restore(2, network[0])
    kept = {key: value for key, value in restored.notes.items() if key != "seconds"}
    checkpoints.save(2, restored.state, kept | notes)
    fit(tmp_path, network)
    assert (tmp_path / "metrics.jsonl").read_bytes() == (done / "metrics.jsonl").read_bytes()


def test_no_step_is_made_twice_after_a_signal(network, tmp_path):
    made = []

    def step(state, batch):
        made.append(int(state.step))
        return network[1](state, batch)

    with pytest.raises(SystemExit):
        fit(tmp_path, network, train_step=step, stop=Asked(3))
    fit(tmp_path, network, train_step=step)
    assert made == list(range(6))


def test_times_lose_no_epoch_between_the_checkpoint_and_their_file(network, copy):
    """As if killed right after the commit; half a line is of an older version."""
    lines = (copy / "times.jsonl").read_text().splitlines(keepends=True)
    (copy / "times.jsonl").write_text("".join(lines[:1]) + lines[1][:9])
    fit(copy, network)
    found = [json.loads(line) for line in (copy / "times.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in found] == [1, 2, 3]
    assert all(line["images_per_second"] > 0 for line in found)


@pytest.mark.slow
def test_a_run_goes_on_on_other_devices_and_says_so(network, done, tmp_path, row, caplog):
    settings = dataclasses.replace(SETTINGS, epochs=1)
    fit(tmp_path, network, settings)
    fresh = tiny.steps(tiny.CONFIG)[1:]  # compiled for two devices
    with jax.set_mesh(row), caplog.at_level("INFO", "reseg_jax"):
        history = fit(tmp_path, (network[0], *fresh))
    assert "this run was on 1 x cpu and goes on on 2 x cpu" in caplog.text
    one = [json.loads(line) for line in (done / "metrics.jsonl").read_text().splitlines()]
    for ours, theirs in zip(history, one, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)
    caplog.clear()
    with caplog.at_level("INFO", "reseg_jax"):
        fit(tmp_path, network, dataclasses.replace(SETTINGS, epochs=4))
    assert "this run was on 2 x cpu and goes on on 1 x cpu" in caplog.text


def test_what_a_killed_run_left_half_written_is_cleared_away(network, copy):
    left = abandoned_file(copy, name="metrics.jsonl")
    half = copy / "checkpoints" / "8.orbax-checkpoint-tmp"
    half.mkdir()
    fit(copy, network)
    assert not left.exists()
    assert not half.exists()
