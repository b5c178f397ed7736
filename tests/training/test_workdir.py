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
from reseg_jax.training.history import saved_history
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.step import create_state
from reseg_jax.training.trained import load_run
from reseg_jax.training.workdir import About, about, claim, describe, is_locked, lock
from tests.support import tiny
from tests.support.damage import abandoned_file, cannot_be_read, flip

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
    assert (record.levelname, record.name) == ("WARNING", "reseg_jax.training.trained")
    (error,) = record.args
    assert "checkpoints/6: unreadable checkpoint" in str(error)
    assert "falling back to the one before" in record.getMessage()
    fit(workdir, network)  # trains the lost epoch again
    assert (workdir / "metrics.jsonl").read_bytes() == (done / "metrics.jsonl").read_bytes()
    assert load_run(workdir, "latest").step == 6
    assert list(workdir.glob("damaged_6_*"))


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
            with pytest.raises(UserError, match="trained over other weights of its backbone"):
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


# --- nothing lost, nothing false ------------------------------------------------------------------


@pytest.fixture
def copy(done, tmp_path):
    """A finished run that a test may damage."""
    return shutil.copytree(done, tmp_path / "run")


def record_file(workdir, step):
    return workdir / "checkpoints" / str(step) / "record" / "metadata"


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


def test_a_locked_folder_is_refused_and_let_go(tmp_path):
    folder = tmp_path / "new"
    with lock(folder):
        assert is_locked(folder)
        with pytest.raises(UserError, match=r"another training is at work in .*new"), lock(folder):
            pass
    assert not is_locked(folder)


def test_every_start_is_recorded(tmp_path, monkeypatch):
    run = About(tiny.CONFIG, SETTINGS, tiny.CLASSES)
    for commit in ("first", "second", "third"):
        monkeypatch.setattr("reseg_jax.training.provenance.commit", lambda commit=commit: commit)
        claim(tmp_path, run)
    said = json.loads((tmp_path / "run.json").read_text())["provenance"]
    assert said["commit"] == "third"
    assert [start["commit"] for start in said["earlier"]] == ["first", "second"]
    assert all(start["time"] and start["versions"] for start in (said, *said["earlier"]))


def test_a_start_follows_those_of_an_older_version(tmp_path):
    run = About(tiny.CONFIG, SETTINGS, tiny.CLASSES)
    claim(tmp_path, run)
    old = json.loads((tmp_path / "run.json").read_text())
    del old["checksum"], old["provenance"]["time"]
    (tmp_path / "run.json").write_text(json.dumps(old))
    assert describe(tmp_path) == run
    claim(tmp_path, run)
    found = json.loads((tmp_path / "run.json").read_text())["provenance"]
    assert found["earlier"] == [old["provenance"]]


def test_every_flipped_bit_of_run_json_is_noticed(tmp_path):
    run = About(tiny.CONFIG, SETTINGS, tiny.CLASSES)
    claim(tmp_path, run)
    path = tmp_path / "run.json"
    content = path.read_bytes()
    for index in range(0, 8 * len(content), 41):
        flipped = bytearray(content)
        flipped[index // 8] ^= 1 << index % 8
        path.write_bytes(flipped)
        try:
            assert describe(tmp_path) == run
        except UserError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize(
    "content",
    [
        *(b"\xff{", b"[" * 100_000, b"[1]", b"null", b"{}"),
        *(b'{"config": {}, "settings": []}', b'{"config": 1, "settings": {}}'),
        b'{"config": {"network": 3}, "settings": {}}',
    ],
)
def test_no_content_of_run_json_is_a_traceback(tmp_path, content):
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(UserError, match=r"run\.json"):
        describe(tmp_path)


def test_a_changed_run_json_says_how_to_accept_it(tmp_path):
    path = tmp_path / "run.json"
    claim(tmp_path, About(tiny.CONFIG, SETTINGS, tiny.CLASSES))
    said = json.loads(path.read_text())
    said["classes"]["names"][0] = "port"
    path.write_text(json.dumps(said))
    with pytest.raises(UserError, match=r'run\.json was changed.*remove "checksum" from it'):
        describe(tmp_path)
    del said["checksum"]
    path.write_text(json.dumps(said))
    assert describe(tmp_path).classes.names == ("port", "right")


def test_bad_numbers_of_the_optimizer_are_not_saved(network, tmp_path):
    def step(state, batch):
        state, loss = network[1](state, batch)
        if int(state.step) == 4:
            bad = jax.tree.map(lambda x: x * np.float32("nan"), state.opt_state)
            state = state._replace(opt_state=bad)
        return state, loss

    with pytest.raises(UserError, match=r"optimizer's state .* not a finite .* of step 2 is kept"):
        fit(tmp_path, network, train_step=step)


def test_a_checkpoint_with_bad_numbers_is_not_gone_on_from(network, copy, done, caplog):
    """Older versions saved such."""
    checkpoints = Checkpoints(copy / "checkpoints")
    restored = checkpoints.restore(6, network[0])
    bad = jax.tree.map(lambda x: x * np.float32("nan"), restored.state.opt_state)
    checkpoints.save(6, restored.state._replace(opt_state=bad), restored.notes, 0.1)
    fit(copy, network)
    assert "holds numbers that are not finite" in caplog.text
    assert (copy / "metrics.jsonl").read_bytes() == (done / "metrics.jsonl").read_bytes()


def test_a_finite_loss_beyond_all_measure_stops_the_run(network, tmp_path):
    def step(state, batch):
        state, loss = network[1](state, batch)
        return state, loss * np.float32(1e21 if int(state.step) >= 4 else 1)

    for _ in range(2):  # it says so each time
        with pytest.raises(UserError, match=r"diverged: the loss is .*e\+2.* is kept.*lower"):
            fit(tmp_path, network, train_step=step, save_minutes=0)
        assert Checkpoints(tmp_path / "checkpoints").steps()[-1] == 3


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
