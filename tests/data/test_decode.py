"""Decoding in threads keeps the order; a header's size is that of the decoded image."""

import time

import numpy as np
import pytest
from PIL import ExifTags, Image

from data.reading.decode import decode_all
from data.reading.headers import header_size
from reseg_jax.errors import UserError
from reseg_jax.files.images import read_image
from tests.support.dataset_files import write


def test_the_order_is_that_of_the_pairs():
    def read(pair):
        time.sleep(0.02 * (pair == 0))
        return -pair

    assert decode_all(read, range(20)) == [-pair for pair in range(20)]


def test_the_first_broken_pair_is_named():
    def read(pair):
        time.sleep(0.02 * (pair == 3))
        if pair in (3, 5):
            raise UserError(f"{pair} is broken")

    with pytest.raises(UserError, match="3 is broken"):
        decode_all(read, range(8))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_the_size_is_that_of_the_decoded_image(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / f"x{suffix}"
    write(path, np.zeros((8, 24, 3), np.uint8), exif=exif)
    assert header_size(path) == read_image(path).shape[:2]
    assert header_size(path) == ((24, 8) if orientation >= 5 else (8, 24))


def test_the_size_is_known_without_the_pixels(tmp_path):
    path = tmp_path / "x.png"
    write(path, np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:200])
    assert header_size(path) == (40, 30)
    with pytest.raises(UserError, match="damaged"):
        read_image(path)


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no image")
    for name in ("x.png", "none.png"):
        with pytest.raises(UserError, match=name):
            header_size(tmp_path / name)
