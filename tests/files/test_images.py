"""Image and label files: what is converted, what is refused, and that PNGs come back as written."""

import re

import numpy as np
import pytest
from PIL import Image

from reseg_jax.errors import UserError
from reseg_jax.files.images import (
    decode_image,
    read_image,
    write_png,
)
from reseg_jax.files.label_reading import read_label
from reseg_jax.labels import VOID, Classes
from tests.support.image_bytes import COLORS, GRAYS, encode, palette_image, raw_png, with_alpha

CLASSES = Classes(("road", "sky", "car"), ((128, 64, 128), (128, 128, 128), (64, 0, 128)), void=11)


# --- photos -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encode(Image.fromarray(COLORS)), COLORS),
        (encode(Image.fromarray(COLORS), "WEBP", lossless=True), COLORS),
        (encode(with_alpha(255)), COLORS),
        (encode(Image.fromarray(GRAYS)), np.dstack([GRAYS] * 3)),
        (encode(Image.fromarray(np.dstack([GRAYS, GRAYS * 0 + 255]))), np.dstack([GRAYS] * 3)),
        (encode(Image.fromarray(GRAYS > 120)), np.dstack([(GRAYS > 120) * np.uint8(255)] * 3)),
        (encode(palette_image([[1, 0]], [[1, 2, 3], [40, 50, 60]])), [[[40, 50, 60], [1, 2, 3]]]),
        # CMYK: ink takes away light; full cyan leaves green and blue.
        (encode(Image.new("CMYK", (1, 1), (255, 0, 0, 0)), "TIFF"), [[[0, 255, 255]]]),
    ],
    ids=["RGB", "WebP", "RGBA", "L", "LA", "1", "P", "CMYK"],
)
def test_photos_become_rgb(data, expected):
    image = decode_image(data, "photo.png")
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees clockwise to show"
    data = encode(Image.fromarray(COLORS), exif=exif)
    np.testing.assert_array_equal(decode_image(data, "photo.png"), np.rot90(COLORS, -1))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (encode(with_alpha(254)), "photo.png is transparent in places: flatten it"),
        (encode(palette_image([[1, 0]], [[1, 2, 3]] * 2), transparency=1), "transparent in places"),
        (encode(Image.fromarray(GRAYS.astype(np.uint16))), "photo.png has more than 8 bits"),
        (encode(Image.fromarray(GRAYS.astype(np.int32)), "TIFF"), "more than 8 bits per channel"),
        (encode(Image.fromarray(GRAYS.astype("f4")), "TIFF"), "more than 8 bits per channel"),
        (raw_png(1, 1, 16, 2, [bytes(6)]), "photo.png has more than 8 bits per channel"),
        (encode(Image.new("LAB", (1, 1)), "TIFF"), "pixels of kind LAB: save it as 8-bit RGB"),
        (
            encode(Image.new("L", (2, 2)), "GIF", save_all=True, append_images=[with_alpha(255)]),
            "photo.png holds several images",
        ),
        (raw_png(0, 0, 8, 2, []), "photo.png cannot be read"),
        (b"", r"photo.png is empty \(0 bytes\)"),
        (b"not an image at all", r"photo.png cannot be read .*\(no image format recognized\)"),
    ],
    ids=[
        *("RGBA", "P", "16-bit gray", "32-bit", "float", "16-bit RGB", "LAB"),
        *("animation", "no pixels", "empty", "text"),
    ],
)
def test_photos_that_mean_nothing_definite_are_refused(data, message):
    with pytest.raises(UserError, match=message):
        decode_image(data, "photo.png")


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "BMP", "WEBP"])
def test_a_truncated_photo_is_never_half_an_image(format_):
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    data = encode(Image.fromarray(noise), format_)
    whole = decode_image(data, "photo")
    refused = 0
    for length in range(len(data)):
        try:
            image = decode_image(data[:length], "photo")
        except UserError as error:
            assert str(error).startswith("photo ")
            refused += 1
        else:  # only what follows the pixels was missing
            np.testing.assert_array_equal(image, whole)
    assert refused > 0.9 * len(data)


def test_every_flipped_bit_of_a_png_s_pixels_is_noticed():
    """Pillow loads many of these, with other pixels."""
    rng = np.random.default_rng(0)
    data = encode(Image.fromarray(rng.integers(0, 256, (9, 8, 3), np.uint8)))
    start = data.index(b"IDAT") + 4
    end = data.index(b"IEND") - 8  # before the checksum of the pixels, and the length of the end
    for place in range(start, end):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        with pytest.raises(UserError, match=r"x\.png cannot be read as an image"):
            decode_image(bytes(flipped), "x.png")


def test_a_missing_and_a_truncated_file_are_named(tmp_path):
    path = tmp_path / "half.png"
    path.write_bytes(encode(Image.fromarray(COLORS))[:50])
    with pytest.raises(UserError, match=re.escape(f"{path} cannot be read as an image")):
        read_image(path)
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'no.png'} does not exist")):
        read_image(tmp_path / "no.png")


# --- folders and writing ------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [None, "0.5", "200"])
def test_an_image_has_as_many_pixels_as_are_allowed(monkeypatch, limit):
    """8000x6000 by default, and not 13300x13300; nothing is decoded to find out."""
    if limit:
        monkeypatch.setenv("RESEG_MAX_MEGAPIXELS", limit)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # put back afterwards
    most = {None: 89, "0.5": 0.5, "200": 200}[limit]
    for width, height in ((800, 600), (8000, 6000), (13300, 13300), (60000, 60000)):
        too_large = width * height > most * 1e6
        reason = "is too large" if too_large else "cannot be read as an image"  # it has no rows
        with pytest.raises(UserError, match=f"photo.png {reason}") as caught:
            decode_image(raw_png(width, height, 8, 2, []), "photo.png")
        assert ("--max_megapixels" in str(caught.value)) == too_large


@pytest.mark.parametrize("text", ["many", "0", "-1", "nan"])
def test_a_limit_that_is_none_is_refused(monkeypatch, text):
    monkeypatch.setenv("RESEG_MAX_MEGAPIXELS", text)
    with pytest.raises(UserError, match=f"RESEG_MAX_MEGAPIXELS={text}: give a number"):
        decode_image(encode(Image.fromarray(COLORS)), "photo.png")


@pytest.mark.parametrize("format_", ["ICO", "PCX", "SGI", "TGA", "EPS", "PDF"])
def test_formats_that_nobody_means_are_not_tried(format_):
    """EPS would start another program; TGA fits nearly any bytes."""
    with pytest.raises(UserError, match="no image format recognized"):
        decode_image(encode(Image.fromarray(COLORS), format_), "photo.png")


def test_a_tga_is_read_by_its_name():
    data = encode(Image.fromarray(COLORS), "TGA")
    np.testing.assert_array_equal(decode_image(data, "PHOTO.TGA"), COLORS)


def test_a_palette_png_keeps_indices_and_shows_colors(tmp_path):
    labels = np.array([[0, 1, 2], [2, VOID, 0]], np.uint8)
    write_png(tmp_path / "p.png", labels, CLASSES.palette)
    with Image.open(tmp_path / "p.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image), labels)
    reading = CLASSES.label_reading
    np.testing.assert_array_equal(read_label(tmp_path / "p.png", reading), labels)
    shown = np.array([*CLASSES.palette, (0, 0, 0)])[[[0, 1, 2], [2, 3, 0]]]  # void is black
    np.testing.assert_array_equal(read_image(tmp_path / "p.png"), shown)


def test_gray_and_color_pngs_come_back_as_written(tmp_path):
    write_png(tmp_path / "gray.png", GRAYS)
    write_png(tmp_path / "rgb.png", COLORS)
    with Image.open(tmp_path / "gray.png") as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.array(image), GRAYS)
    np.testing.assert_array_equal(read_image(tmp_path / "rgb.png"), COLORS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gray.png", "rgb.png"]
