"""A run's folder and its loop: stopped and resumed runs, damaged checkpoints, bad numbers."""

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
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.step import create_state
from reseg_jax.training.workdir import About, about, claim, describe, load_run
from tests.support import tiny

SETTINGS = TrainSettings(epochs=3, batch_size=2)


class Interrupted(Exception):
    pass


@pytest.fixture(scope="module")
def network():
    """(first state, train_step, predict_step), compiled once for all tests here."""
    optimizer, train_step, predict_step = tiny.steps(tiny.CONFIG)
    variables = api.init(tiny.CONFIG, jax.random.key(0))
    return create_state(variables, optimizer), train_step, predict_step


def fit(workdir, network, settings=SETTINGS, train_step=None, **options):
    state, step, predict_step = network
    claim(workdir, About(tiny.CONFIG, settings, tiny.CLASSES))
    train, val = tiny.Batches(), tiny.Batches(seed=1)
    step = train_step or step
    return loop.fit(workdir, settings, state, step, predict_step, train, val, 2, **options)


@pytest.fixture(scope="module")
def done(network, tmp_path_factory):
    """A finished run."""
    workdir = tmp_path_factory.mktemp("run")
    fit(workdir, network)
    return workdir


def interrupting(train_step, after):
    """`train_step` that a kill stops at its call number `after` (from 1)."""
    calls = iter(range(1, after))

    def step(state, batch):
        if next(calls, None) is None:
            raise Interrupted
        return train_step(state, batch)

    return step


def leaves(run):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(run.variables)]


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


def test_a_run_says_what_it_is_and_where_it_ran(tmp_path):
    run = About(tiny.CONFIG, SETTINGS, tiny.CLASSES)
    claim(tmp_path, run, "a-name")
    said = json.loads((tmp_path / "run.json").read_text())
    assert said["preset"] == "a-name"
    assert said["provenance"]["versions"]["jax"] == jax.__version__
    assert describe(tmp_path) == run


def test_the_record_of_an_older_version_is_read():
    """Config in one piece, classes inside it, settings under their former names."""
    classes = {"names": ["a", "b"], "palette": [[0, 0, 0], [9, 9, 9]], "void": 255}
    record = {
        "config": {"num_classes": 2, "vgg_layer": None, "unroll": True, "classes": classes},
        "settings": {"average": 0.9, "colour": 0.2, "versions": 3, "vgg_rate": 0.5},
    }
    config, settings, found = about(record)
    assert (config.backbone, config.execution.unroll) == (None, "all")
    assert (settings.ema_decay, settings.color, settings.num_augmented_copies) == (0.9, 0.2, 3)
    assert settings.backbone_rate == 0.5
    assert found.names == ("a", "b")


def test_more_epochs_continue_a_finished_run(network, done, tmp_path):
    shutil.copytree(done, tmp_path / "run")
    history = fit(tmp_path / "run", network, dataclasses.replace(SETTINGS, epochs=4))
    assert [record["epoch"] for record in history] == [1, 2, 3, 4]


def test_load_run_finds_best_latest_and_numbered(done):
    history = load_run(done, "latest").history
    assert load_run(done, "latest").step == 6
    assert load_run(done, "best").step == loop.best_epoch(history)["step"]
    assert load_run(done, "6").step == 6
    assert load_run(done).config == tiny.CONFIG
    with pytest.raises(UserError, match=r"no checkpoint 77: best, latest, or one of .*6"):
        load_run(done, "77")


def damage(workdir, step):
    folder = workdir / "checkpoints" / str(step) / "state"
    for path in folder.rglob("*"):
        if path.is_file() and path.parent.name == "d":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_damaged_checkpoint_falls_back_to_the_one_before(network, done, tmp_path, caplog):
    workdir = tmp_path / "run"
    shutil.copytree(done, workdir)
    damage(workdir, 6)
    assert load_run(workdir, "latest").step == 4
    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "reseg_jax.training.workdir")
    (error,) = record.args
    assert "checkpoints/6: unreadable checkpoint" in str(error)
    assert "falling back to the one before" in record.getMessage()
    fit(workdir, network)  # trains the lost epoch again
    assert (workdir / "metrics.jsonl").read_bytes() == (done / "metrics.jsonl").read_bytes()
    assert load_run(workdir, "latest").step == 6
    assert list(workdir.glob("damaged_6_*"))


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


def test_a_workdir_of_another_run_says_what_differs(done):
    config = dataclasses.replace(tiny.CONFIG, cell="lstm")
    settings = dataclasses.replace(SETTINGS, seed=5, epochs=9)
    with pytest.raises(UserError) as error:
        claim(done, About(config, settings, tiny.CLASSES))
    assert "cell: 'lstm' here, 'gru' there" in str(error.value)
    assert "seed: 5 here, 0 there" in str(error.value)
    assert "epochs" not in str(error.value)  # a run may be made longer


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
            with pytest.raises(UserError, match="trained over other VGG weights"):
                loop.fit(*arguments)


@pytest.mark.parametrize("poisoned", ["loss", "parameters"])
def test_bad_numbers_stop_the_run_and_keep_the_checkpoint(network, tmp_path, poisoned):
    def step(state, batch):
        state, loss = network[1](state, batch)
        if int(state.step) == 4 and poisoned == "loss":
            loss = loss * np.float32("nan")
        if int(state.step) == 4 and poisoned == "parameters":
            bad = jax.tree.map(lambda x: x * np.float32("inf"), state.variables)
            state = state._replace(variables=bad)
        return state, loss

    with pytest.raises(UserError, match=r"not a finite number at step 4.* of step 2 is kept"):
        fit(tmp_path, network, train_step=step)
    assert load_run(tmp_path, "latest").step == 2


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
