"""Files of the feature cache: what comes out is what went in, and no damage passes."""

import jax.numpy as jnp
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


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("zeros", ["none", "all", "of a ReLU"])
def test_what_is_read_is_what_was_written(path, dtype, zeros):
    """Bit for bit: -0.0, infinities and NaN too; of 60 numbers, so that bytes are not full."""
    numbers = np.random.default_rng(1).normal(size=(3, 4, 5)).astype(jnp.dtype(dtype))
    if zeros == "all":
        numbers[:] = 0
    elif zeros == "of a ReLU":
        numbers[numbers < 0] = 0
        numbers[0, 0] = [-0.0, np.inf, -np.inf, np.nan, 0.0]
    feature_files.write(path, numbers)
    assert feature_files.problem(path) is None
    found = feature_files.read(path)
    assert (found.dtype, found.shape) == (numbers.dtype, numbers.shape)
    assert found.tobytes() == numbers.tobytes()


def test_zeros_take_a_bit_each(tmp_path):
    """1000 numbers of 2 bytes, 100 of them not 0: 125 bytes of bits and 200 of numbers."""
    numbers = np.zeros((10, 10, 10), np.float16)
    numbers[..., 3] = 1
    shape = 3 * 8
    assert feature_files.packed_bytes(numbers) == shape + 125 + 200
    feature_files.write(tmp_path / "one.npy", numbers)
    header = (tmp_path / "one.npy").stat().st_size - (shape + 125 + 200)
    assert header < 300


def test_numpy_reads_what_was_written(path):
    record = np.load(path)
    np.testing.assert_array_equal(record["float16"].view(np.float16), ARRAY.ravel())
    assert tuple(record["shape"]) == ARRAY.shape


def test_arrays_of_older_versions_are_read(path):
    with open(path, "wb") as file:
        np.save(file, ARRAY)
        file.write(b"crc32 00000000\n")
    np.testing.assert_array_equal(feature_files.read(path), ARRAY)


def test_free_bytes_are_those_of_the_disk_that_a_folder_will_be_on(tmp_path):
    free = feature_files.free_bytes(tmp_path / "not" / "there")
    assert free == pytest.approx(feature_files.free_bytes(tmp_path), rel=0.1)
    with pytest.raises(UserError, match=r"not/there: features of 2 images need about 1e\+09 GB"):
        feature_files.check_room(tmp_path / "not" / "there", 1e18, "2 images")


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


@pytest.mark.parametrize("content", [b"", bytes(200), b"PK\3\4 something else"])
def test_what_a_power_cut_leaves_is_no_file(path, content):
    path.write_bytes(content)
    assert feature_files.problem(path) not in (None, feature_files.OLD)


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
