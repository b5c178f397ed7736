"""Label files: every way to store them, read by one reading, and what is refused."""

import re

import numpy as np
import pytest
from PIL import Image

from reseg_jax.errors import UserError
from reseg_jax.files import config_json
from reseg_jax.files.images import decode_label_pixels
from reseg_jax.files.label_reading import decode_label, shorten, strays, summarize
from reseg_jax.labels import VOID, Classes, LabelReading
from tests.support.image_bytes import COLORS, GRAYS, encode, palette_image, raw_png, with_alpha

INDICES = Classes(("road", "sky", "car"), ((0, 0, 0),) * 3, void=11).label_reading
BLACK_WHITE = LabelReading("gray levels", ((0, 1), (255, 0)))
SHOWN = LabelReading("colors", (((0, 0, 0), 0), ((9, 9, 9), 1), ((9, 0, 0), VOID)))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encode(Image.fromarray(np.array([[0, 1, 2]], np.uint8))), [[0, 1, 2]]),
        (encode(Image.fromarray(np.array([[1, 11, 255]], np.uint8))), [[1, VOID, VOID]]),
        # The indices, whatever colors they show in, also at 2 bits per pixel.
        (encode(palette_image([[2, 0, 1]], [[9, 9, 9]] * 256)), [[2, 0, 1]]),
        (encode(palette_image([[2, 0, 1]], [[9, 9, 9]] * 3), bits=2), [[2, 0, 1]]),
        (encode(palette_image([[2, 0, 1]], [[9, 9, 9]] * 3), transparency=2), [[2, 0, 1]]),
        (encode(Image.fromarray(np.array([[True, False]]))), [[1, 0]]),
        # Gray of 2 and 4 bits per pixel, which viewers stretch to 0..255.
        (raw_png(4, 1, 2, 0, [bytes([0b00_01_10_00])]), [[0, 1, 2, 0]]),
        (raw_png(2, 1, 4, 0, [bytes([0x1B])]), [[1, VOID]]),
    ],
    ids=["L", "void", "P", "P 2-bit", "tRNS", "1", "L 2-bit", "L 4-bit"],
)
def test_indices(data, expected):
    label = decode_label(data, "truth.png", INDICES)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, expected)


@pytest.mark.parametrize(
    ("reading", "data", "expected"),
    [
        (BLACK_WHITE, encode(Image.fromarray(np.array([[0, 255]], np.uint8))), [[1, 0]]),
        (BLACK_WHITE, encode(Image.fromarray(np.array([[False, True]]))), [[1, 0]]),
        (BLACK_WHITE, encode(palette_image([[0, 1]], [[255] * 3, [0] * 3])), [[0, 1]]),
        (BLACK_WHITE, encode(Image.new("RGB", (1, 1), "white")), [[0]]),
        (BLACK_WHITE, raw_png(4, 1, 2, 0, [bytes([0b11_00_11_00])]), [[0, 1, 0, 1]]),
        (SHOWN, encode(palette_image([[1, 0]], [[9, 9, 9], [9, 0, 0]])), [[VOID, 1]]),
        (SHOWN, encode(Image.fromarray(np.array([[0, 9]], np.uint8))), [[0, 1]]),
        (SHOWN, encode(Image.new("RGBA", (1, 1), (9, 9, 9, 255))), [[1]]),
        (SHOWN, encode(Image.new("LA", (1, 1), (9, 255))), [[1]]),
    ],
)
def test_what_pixels_show(reading, data, expected):
    np.testing.assert_array_equal(decode_label(data, "truth.png", reading), expected)


def test_a_set_bit_is_255_if_no_class_has_1():
    reading = LabelReading("indices", ((0, 0), (255, 1)))
    data = encode(Image.fromarray(np.array([[True, False]])))
    np.testing.assert_array_equal(decode_label(data, "x", reading), [[1, 0]])


@pytest.mark.parametrize(
    ("reading", "data", "message"),
    [
        (
            INDICES,
            encode(Image.fromarray(np.array([[0, 7, 3, 7]], "u1"))),
            "truth.png holds the value 7 (2 pixels), the value 3 (1 pixel); the values of the "
            "classes and of void are 0 to 2, 11, 255",
        ),
        (INDICES, encode(Image.fromarray(np.arange(100, 120, dtype="u1")[None])), "and 15 more"),
        (INDICES, encode(Image.fromarray(COLORS)), "the color (0, 255, 0) (1 pixel)"),
        (INDICES, encode(Image.new("RGB", (1, 1), (1, 1, 1))), "the color (1, 1, 1) (1 pixel)"),
        (INDICES, encode(Image.fromarray(np.ones((1, 1), np.uint16))), "16 bits; save it as a PNG"),
        (INDICES, encode(Image.fromarray(GRAYS), "JPEG"), "is a JPEG, which alters labels"),
        (INDICES, encode(Image.fromarray(GRAYS))[:45], "truth.png cannot be read as an image"),
        (INDICES, b"", "truth.png is empty"),
        (SHOWN, encode(with_alpha(254)), "is transparent in places"),
        (
            SHOWN,
            encode(palette_image([[1, 0]], [[9, 9, 9], [0, 0, 0]]), transparency=1),
            "holds the transparent palette index 1 (1 pixel)",
        ),
        (BLACK_WHITE, encode(Image.new("L", (2, 1), 128)), "the color (128, 128, 128) (2 pixels)"),
        (BLACK_WHITE, encode(Image.new("CMYK", (1, 1)), "TIFF"), "pixels of kind CMYK"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_pixels(reading, data, message):
    with pytest.raises(UserError, match=re.escape(message)):
        decode_label(data, "truth.png", reading)


def test_a_photo_among_labels_is_counted_without_end():
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    summary = summarize(decode_label_pixels(encode(Image.fromarray(noise)), "x.png"))
    assert len(summary.pixels) == 1000
    assert strays(summary, SHOWN).endswith("and 995 more")


def test_a_reading_is_a_line_and_survives_json():
    names = ("road", "car", "sky")
    assert BLACK_WHITE.describe(names) == "gray levels, 0 = car, 255 = road"
    assert SHOWN.describe(names) == "colors, (0, 0, 0) = road, (9, 9, 9) = car, (9, 0, 0) = void"
    many = Classes(tuple(map(str, range(30))), ((0, 0, 0),) * 30)
    described = many.label_reading.describe(many.names)
    assert described.endswith("10 = 10, ..., 29 = 29, 255 = void")
    classes = Classes(("a", "b"), ((0, 0, 0), (1, 1, 1)), reading=SHOWN)
    assert config_json.from_dict(Classes, config_json.to_dict(classes)) == classes


def test_runs_of_numbers_are_shortened():
    assert shorten([0, 1, 2, 3, 11, 254, 255]) == "0 to 3, 11, 254, 255"
    assert shorten([(0, 0, 0), (1, 0, 0)]) == "(0, 0, 0), (1, 0, 0)"
