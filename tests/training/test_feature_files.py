"""Files of the feature cache: NumPy reads them, and no damage passes."""

import numpy as np
import pytest

from reseg_jax.errors import UserError
from reseg_jax.training import feature_files

ARRAY = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float16)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "one.npy"
    feature_files.write(path, ARRAY)
    return path


def test_numpy_reads_what_was_written(path):
    assert feature_files.problem(path) is None
    for mode in (None, "r"):
        np.testing.assert_array_equal(np.load(path, mmap_mode=mode), ARRAY)


def test_every_flipped_bit_is_noticed(path):
    content = path.read_bytes()
    for index in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[index // 8] ^= 1 << index % 8
        path.write_bytes(flipped)
        why = feature_files.problem(path)
        assert why and why != feature_files.OLD, index


def test_every_cut_is_noticed(path):
    """The one that takes exactly the checksum leaves a sound file of an older version."""
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert feature_files.problem(path)
        assert feature_files.problem(path, thorough=False)


@pytest.mark.parametrize("content", [b"", bytes(200), b"PK\3\4 something else"])
def test_what_a_power_cut_leaves_is_no_file(path, content):
    path.write_bytes(content)
    assert feature_files.problem(path, thorough=False) not in (None, feature_files.OLD)


def test_files_of_older_versions_and_missing_ones_are_told_from_damage(path):
    np.save(path, ARRAY)
    assert feature_files.problem(path) == feature_files.OLD
    path.unlink()
    assert feature_files.problem(path) == feature_files.MISSING


def test_a_file_that_cannot_be_read_now_is_not_called_damaged(path):
    path.unlink()
    path.symlink_to(path)  # which not even the system's administrator can read
    with pytest.raises(UserError, match=r"one\.npy cannot be read now .*--cache_dir"):
        feature_files.problem(path)
