"""The states of a run's files and a cache's: each fault by its name, mended or left alone."""

import json
import shutil

import jax
import numpy as np
import pytest

from reseg_jax import api
from reseg_jax.errors import UserError
from reseg_jax.training import feature_files, file_states, loop
from reseg_jax.training.checkpoints import Checkpoints
from reseg_jax.training.file_states import DAMAGED, OK, OLD, TEMPORARY, UNREADABLE
from reseg_jax.training.history import saved_history
from reseg_jax.training.settings import TrainSettings
from reseg_jax.training.step import create_state
from reseg_jax.training.trained import blank_state
from reseg_jax.training.workdir import About, claim, describe
from tests.support import tiny
from tests.support.damage import abandoned_file, cannot_be_read, flip

STEPS = [2, 4]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished run of two epochs."""
    workdir, settings = tmp_path_factory.mktemp("run"), TrainSettings(epochs=2, batch_size=2)
    optimizer, *steps = tiny.steps(tiny.CONFIG)
    claim(workdir, About(tiny.CONFIG, settings, tiny.CLASSES))
    state = create_state(api.init(tiny.CONFIG, jax.random.key(0)), optimizer)
    loop.fit(workdir, settings, state, *steps, tiny.Batches(), tiny.Batches(seed=1), 2)
    (workdir / "scores.json").write_text("{}")
    return workdir


@pytest.fixture
def run(done, tmp_path):
    return shutil.copytree(done, tmp_path / "run")


def states(run):
    return {str(each.path.relative_to(run)): each for each in file_states.of_workdir(run)}


def mend(run):
    for each in file_states.of_workdir(run):
        if each.mend:
            each.mend()


def wrong(run):
    return {name: each.state for name, each in states(run).items() if not each.is_well}


def test_a_sound_run_is_well(run):
    files = ["run.json", *(f"checkpoints/{step}" for step in STEPS)]
    files += ["metrics.jsonl", "times.jsonl", "scores.json"]
    assert {name: each.state for name, each in states(run).items()} == dict.fromkeys(files, OK)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_set_aside_and_its_bytes_are_kept(run):
    paths = sorted((run / "checkpoints" / "4" / "state").rglob("d/*"))
    for path in paths:  # all of them: one may hold only what a later one replaces
        flip(path)
    path = max(paths, key=lambda path: path.stat().st_size)
    damaged = path.read_bytes()
    assert wrong(run) == {"checkpoints/4": DAMAGED}
    mend(run)
    assert wrong(run) == {}
    (aside,) = run.glob("damaged_4_*")
    assert (aside / path.relative_to(run / "checkpoints" / "4")).read_bytes() == damaged


def test_a_checkpoint_of_bad_numbers_is_set_aside(run):
    """As older versions saved them: no training goes on from it."""
    checkpoints, like = Checkpoints(run / "checkpoints"), blank_state(describe(run))
    restored = checkpoints.restore(4, like)
    bad = jax.tree.map(lambda x: x * np.float32("nan"), restored.state.opt_state)
    checkpoints.save(4, restored.state._replace(opt_state=bad), restored.notes, 0.1)
    assert wrong(run) == {"checkpoints/4": DAMAGED}


def test_lines_are_written_anew_from_the_checkpoint(run):
    sound = (run / "metrics.jsonl").read_bytes(), (run / "times.jsonl").read_bytes()
    flip(run / "metrics.jsonl")
    (run / "times.jsonl").write_bytes(sound[1][:-30])
    assert wrong(run) == {"metrics.jsonl": DAMAGED, "times.jsonl": DAMAGED}
    mend(run)
    assert (run / "metrics.jsonl").read_bytes() == sound[0]
    assert wrong(run) == {}


def test_without_any_checkpoint_lines_are_set_aside_and_a_run_may_begin(run):
    for step in STEPS:
        flip(run / "checkpoints" / str(step) / "record" / "metadata")
    lines = (run / "metrics.jsonl").read_bytes()
    mend(run)
    assert wrong(run) == {}
    assert Checkpoints(run / "checkpoints").steps() == []
    (aside,) = run.glob("metrics_*.jsonl")
    assert aside.read_bytes() == lines
    assert len(list(run.glob("damaged_*"))) == len(STEPS)


def test_what_cannot_be_read_now_is_left_as_it_is(run):
    cannot_be_read(run / "checkpoints" / "4" / "record" / "metadata")
    assert wrong(run) == {"checkpoints/4": UNREADABLE}
    mend(run)
    assert wrong(run) == {"checkpoints/4": UNREADABLE}
    assert len(saved_history(run)) == 1
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2


def test_temporaries_are_cleared_away_unless_a_training_is_at_work(run):
    (run / "checkpoints" / "6.orbax-checkpoint-tmp").mkdir()
    abandoned_file(run, name="metrics.jsonl")
    assert set(wrong(run).values()) == {TEMPORARY}
    at_work = list(file_states.of_workdir(run, at_work=True))
    assert [each.state for each in at_work].count(TEMPORARY) == 1
    mend(run)
    assert wrong(run) == {}


def test_a_damaged_run_json_and_scores_are_named(run):
    (run / "run.json").write_text((run / "run.json").read_text().replace("left", "lift"))
    (run / "scores.json").write_text("{")
    (run / "pictures").mkdir()
    (run / "pictures" / "one.png").write_bytes(b"half a picture")
    found = states(run)
    for name in ("run.json", "scores.json", "pictures/one.png"):
        assert found[name].state == DAMAGED
        assert found[name].mend is None
    assert 'remove "checksum"' in found["run.json"].why
    assert found["checkpoints/4"].state == OK


def test_old_runs_are_well(run):
    """No checksum, no times in the checkpoints, a line of a killed append."""
    for step in STEPS:
        path = run / "checkpoints" / str(step) / "record" / "metadata"
        found = json.loads(path.read_text())
        notes = {name: found["notes"][name] for name in ("history", "loss_sum")}
        digests = {name: digest for name, (_, digest) in found["leaves"].items()}
        path.write_text(json.dumps({"notes": notes, "score": found["score"], "sha256": digests}))
    about = json.loads((run / "run.json").read_text())
    del about["checksum"]
    (run / "run.json").write_text(json.dumps(about))
    assert wrong(run) == {}
    assert states(run)["times.jsonl"].state == OLD


def test_features_are_checked_and_damaged_ones_removed(tmp_path):
    folder = tmp_path / "0123"
    for name in ("sound", "flipped", "empty", "old", "unreadable"):
        feature_files.write(folder / f"{name}.npy", np.ones((4, 5, 2), np.float16))
    flip(folder / "flipped.npy")
    (folder / "empty.npy").write_bytes(b"")
    np.save(folder / "old.npy", np.ones(3))
    cannot_be_read(folder / "unreadable.npy")
    left = abandoned_file(folder)
    found = {each.path.name: each for each in file_states.of_features(tmp_path)}
    assert {name: each.state for name, each in found.items()} == {
        left.name: TEMPORARY,
        "sound.npy": OK,
        "flipped.npy": DAMAGED,
        "empty.npy": DAMAGED,
        "old.npy": OLD,
        "unreadable.npy": UNREADABLE,
    }
    for each in found.values():
        if each.mend:
            each.mend()
    kept = {path.name for path in folder.iterdir()}
    assert kept == {"sound.npy", "old.npy", "unreadable.npy"}


@pytest.mark.parametrize("states_of", [file_states.of_features, file_states.of_workdir])
def test_a_folder_that_is_not_there_is_one_sentence(tmp_path, states_of):
    with pytest.raises(UserError, match="nowhere is no folder"):
        list(states_of(tmp_path / "nowhere"))
