"""Checkpoints: what is kept, and what happens to damaged ones."""

import jax.numpy as jnp
import numpy as np
import pytest

from reseg_jax.errors import UserError
from reseg_jax.training.checkpoints import Checkpoints


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
