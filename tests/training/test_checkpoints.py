"""Checkpoints: what is kept, and what happens to damaged ones."""

import json
import shutil
import threading

import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax.errors import UserError
from reseg_jax.files import sealed_json
from reseg_jax.training import checkpoint_files
from reseg_jax.training.checkpoints import Checkpoints, Damaged, Unreadable
from tests.support.damage import cannot_be_read, flip


def state(value):
    # Noise, since constants compress to nothing that could be damaged.
    noise = np.random.default_rng(value).normal(size=(40, 30)).astype(np.float32)
    return {"a": {"kernel": jnp.asarray(noise)}, "step": jnp.int32(value)}


@pytest.fixture
def five(tmp_path):
    """Five checkpoints, the second the best."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step, score in enumerate([0.2, 0.9, -1.0, 0.3, 0.4], start=1):
        checkpoints.save(step, state(step), {"history": [step]}, score)
    return checkpoints


def data_files(checkpoints, step):
    """The files of a checkpoint that hold array contents, largest first."""
    files = [p for p in (checkpoints.directory / str(step) / "state").rglob("*") if p.is_file()]
    return sorted((p for p in files if "/d/" in p.as_posix()), key=lambda p: -p.stat().st_size)


def test_the_two_newest_and_the_best_are_kept(five):
    assert five.steps() == [2, 4, 5]
    assert five.scores() == {2: 0.9, 4: 0.3, 5: 0.4}


def test_those_without_a_score_do_not_crowd_out_the_others(five):
    for step in (6, 7, 8):  # a long epoch
        five.save(step, state(step), {})
    assert five.steps() == [2, 4, 5, 7, 8]
    five.save(9, state(9), {}, 0.1)
    assert five.steps() == [2, 5, 8, 9]


def test_restored_as_saved(five):
    restored = five.restore(4, state(0))
    assert restored.step == 4
    assert restored.notes == {"history": [4]}
    np.testing.assert_array_equal(restored.state["a"]["kernel"], state(4)["a"]["kernel"])
    assert restored.state["step"] == 4


def test_a_reopened_folder_goes_on_keeping_the_best(five):
    again = Checkpoints(five.directory)
    for step in (6, 7, 8):
        again.save(step, state(step), {}, 0.1)
    assert again.steps() == [2, 7, 8]


def test_a_flipped_bit_is_noticed(five):
    path = data_files(five, 5)[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"checkpoints/5: (damaged|unreadable) checkpoint"):
        five.restore(5, state(0))


def test_a_truncated_file_is_noticed(five):
    path = data_files(five, 5)[0]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="checkpoints/5: unreadable checkpoint"):
        five.restore(5, state(0))


def test_a_half_written_checkpoint_does_not_count(five):
    (five.directory / "6.orbax-checkpoint-tmp-123").mkdir()
    assert five.steps() == [2, 4, 5]
    assert five.restore(5, state(0)).step == 5


def test_another_tree_is_refused(five):
    with pytest.raises(UserError, match="unreadable checkpoint"):
        five.restore(5, {"a": {"kernel": jnp.zeros((40, 31))}, "step": jnp.int32(0)})


def test_unreadable_later_ones_are_set_aside(five):
    five.set_aside_after(4)
    assert five.steps() == [2, 4]
    (aside,) = five.directory.parent.glob("damaged_5_*")
    assert (aside / "state").is_dir()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write the checkpoint of step 1 .*no earlier one"):
        Checkpoints(tmp_path / "file").save(1, state(1), {})


def record_file(checkpoints, step):
    return checkpoints.directory / str(step) / "record" / "metadata"


def test_every_flipped_bit_of_the_record_is_noticed(five):
    """Notes and score are in it: what the run's history says, and which checkpoint is best."""
    path = record_file(five, 5)
    content, sound = path.read_bytes(), five.record(5)
    for index in range(0, 8 * len(content), 5):
        flipped = bytearray(content)
        flipped[index // 8] ^= 1 << index % 8
        path.write_bytes(flipped)
        try:
            assert five.record(5) == sound, index  # a space for another, or an escape for a letter
        except Damaged:
            continue


def test_a_record_of_an_older_version_is_read(five):
    path = record_file(five, 5)
    found = json.loads(path.read_bytes())
    old = {"notes": found["notes"], "score": found["score"]}
    old["sha256"] = {name: digest for name, (_, digest) in found["leaves"].items()}
    path.write_text(json.dumps(old))
    assert five.restore(5, state(0)).notes == {"history": [5]}
    assert five.scores()[5] == 0.4
    flip(data_files(five, 5)[0])
    with pytest.raises(Damaged):
        five.restore(5, state(0))


@pytest.mark.parametrize("which", ["record", "data", "link"])
def test_what_cannot_be_read_now_is_not_called_damaged(five, which):
    folder = five.directory / "5"
    if which == "link":
        shutil.rmtree(folder)
        folder.symlink_to("a disk that is not mounted")
    else:
        cannot_be_read(record_file(five, 5) if which == "record" else data_files(five, 5)[0])
    with pytest.raises(Unreadable, match=r"checkpoints/5.* cannot be read now .*disk"):
        five.restore(5, state(0))


def test_a_folder_on_a_disk_that_is_not_there_is_not_an_empty_one(tmp_path):
    (tmp_path / "checkpoints").symlink_to(tmp_path / "mount" / "checkpoints")
    with pytest.raises(Unreadable, match="which is not there: mount the disk"):
        Checkpoints(tmp_path / "checkpoints").steps()


def test_too_little_memory_is_not_called_damage(five, monkeypatch):
    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.restore", full)
    with pytest.raises(Unreadable, match="out of memory"):
        five.restore(5, state(0))


def test_what_another_orbax_wrote_is_not_called_damage(five, monkeypatch):
    path = record_file(five, 5)
    path.write_text(json.dumps(sealed_json.seal({**json.loads(path.read_text()), "orbax": "9.8"})))
    assert five.restore(5, state(0)).step == 5  # as long as this one reads it
    flip(five.directory / "5" / "state" / "_METADATA", 0.0)
    with pytest.raises(Unreadable, match=r"orbax-checkpoint 9\.8 wrote it .* install that version"):
        five.restore(5, state(0))


def test_a_missing_file_is_damage(five):
    data_files(five, 5)[0].unlink()
    record_file(five, 4).unlink()
    for step in (4, 5):
        with pytest.raises(Damaged, match=f"checkpoints/{step}: unreadable checkpoint"):
            five.restore(step, state(0))


def test_a_checkpoint_is_replaced_by_one_of_the_same_step(five):
    five.save(5, state(9), {"history": [9]}, 0.95)
    assert five.restore(5, state(0)).notes == {"history": [9]}
    assert five.scores()[5] == 0.95
    assert not five.temporaries()


def test_a_kill_while_one_is_replaced_or_removed_loses_none(five):
    (five.directory / "5").rename(five.directory / "5.replaced")  # and nothing in its place
    (five.directory / "4").rename(five.directory / "4.removed")
    (five.directory / "6.orbax-checkpoint-tmp").mkdir()
    five.tidy()
    assert five.steps() == [2, 5]
    assert five.restore(5, state(0)).notes == {"history": [5]}
    assert not five.temporaries()


def test_an_unreadable_or_damaged_checkpoint_is_never_deleted(five):
    flip(record_file(five, 4))
    cannot_be_read(record_file(five, 2))
    for step in (6, 7, 8):
        five.save(step, state(step), {}, 0.1)
    assert {2, 4} <= set(five.steps())


def test_what_is_written_is_on_the_disk_before_anything_is_removed(five, monkeypatch):
    done = []
    monkeypatch.setattr(checkpoint_files, "_fsync", lambda path: done.append(path))
    remove = Checkpoints._remove
    monkeypatch.setattr(
        Checkpoints, "_remove", lambda self, path: done.append("removed") or remove(self, path)
    )
    five.save(6, state(6), {}, 0.1)
    folder = five.directory / "6"
    flushed = done[: done.index("removed")]
    wanted = {folder, folder.parent, *folder.rglob("*")}
    assert set(flushed) == wanted
    assert flushed[-1] == folder.parent


def test_a_full_disk_is_one_sentence_and_no_traceback(five, monkeypatch, capfd):
    """Orbax's threads fail as well, and later; nothing of it is left behind."""

    def full(self, step, **_):
        (self.directory / f"{step}.orbax-checkpoint-tmp").mkdir()

        def fail():
            raise RuntimeError("Event loop is closed")

        threading.Thread(target=fail).start()
        raise ValueError("RESOURCE_EXHAUSTED: Error writing")

    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.save", full)
    usage = shutil.disk_usage(five.directory)._replace(free=1024)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"No space left .* 4 KiB wanted, 1 KiB free.* of step 5"):
        five.save(6, state(6), {})
    assert capfd.readouterr().err == ""
    assert not five.temporaries()
