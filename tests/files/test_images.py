"""Image and label files: what is converted, what is refused, and that PNGs come back as written."""

import io
import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from reseg_jax.config import VOID, Classes
from reseg_jax.errors import UserError
from reseg_jax.files.images import (
    decode_image,
    decode_label,
    list_images,
    read_image,
    read_label,
    write_png,
)

CLASSES = Classes(("road", "sky", "car"), ((128, 64, 128), (128, 128, 128), (64, 0, 128)), void=11)
COLOURS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 70, 200]]], np.uint8)
GREYS = np.array([[0, 50, 100], [150, 200, 255]], np.uint8)


def encode(image, format_="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()


def raw_png(width, height, depth, colour_type, rows):
    """A PNG written by hand from the specification, for what Pillow does not write."""

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", content)
        + chunk(b"IEND", b"")
    )


def with_alpha(alpha):
    return Image.fromarray(np.dstack([COLOURS, np.full((2, 2), alpha, np.uint8)]))


def palette_image(values, colours):
    image = Image.fromarray(np.asarray(values, np.uint8))
    image.putpalette(np.asarray(colours, np.uint8).tobytes())
    return image


# --- photos -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encode(Image.fromarray(COLOURS)), COLOURS),
        (encode(Image.fromarray(COLOURS), "WEBP", lossless=True), COLOURS),
        (encode(with_alpha(255)), COLOURS),
        (encode(Image.fromarray(GREYS)), np.dstack([GREYS] * 3)),
        (encode(Image.fromarray(np.dstack([GREYS, GREYS * 0 + 255]))), np.dstack([GREYS] * 3)),
        (encode(Image.fromarray(GREYS > 120)), np.dstack([(GREYS > 120) * np.uint8(255)] * 3)),
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
    data = encode(Image.fromarray(COLOURS), exif=exif)
    np.testing.assert_array_equal(decode_image(data, "photo.png"), np.rot90(COLOURS, -1))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (encode(with_alpha(254)), "photo.png is transparent in places: flatten it"),
        (
            encode(palette_image([[1, 0]], [[1, 2, 3], [4, 5, 6]]), transparency=1),
            "photo.png is transparent in places",
        ),
        (encode(Image.fromarray(GREYS.astype(np.uint16))), "photo.png has more than 8 bits"),
        (encode(Image.fromarray(GREYS.astype(np.int32)), "TIFF"), "more than 8 bits a channel"),
        (encode(Image.fromarray(GREYS.astype(np.float32)), "TIFF"), "more than 8 bits a channel"),
        (raw_png(1, 1, 16, 2, [bytes(6)]), "photo.png has more than 8 bits a channel"),
        (encode(Image.new("LAB", (1, 1)), "TIFF"), "pixels of kind LAB: save it as 8-bit RGB"),
        (
            encode(Image.new("L", (2, 2)), "GIF", save_all=True, append_images=[with_alpha(255)]),
            "photo.png holds 2 pictures",
        ),
        (raw_png(0, 0, 8, 2, []), "photo.png cannot be read"),
        (b"", r"photo.png is empty \(0 bytes\)"),
        (b"not an image at all", r"photo.png cannot be read .*\(no image format recognised\)"),
    ],
    ids=[
        *("RGBA", "P", "16-bit grey", "32-bit", "float", "16-bit RGB", "LAB"),
        *("animation", "no pixels", "empty", "text"),
    ],
)
def test_photos_that_mean_nothing_definite_are_refused(data, message):
    with pytest.raises(UserError, match=message):
        decode_image(data, "photo.png")


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "BMP", "WEBP"])
def test_a_truncated_photo_is_never_half_a_picture(format_):
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


def test_a_missing_and_a_truncated_file_are_named(tmp_path):
    path = tmp_path / "half.png"
    path.write_bytes(encode(Image.fromarray(COLOURS))[:50])
    with pytest.raises(UserError, match=re.escape(f"{path} cannot be read as an image")):
        read_image(path)
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / 'no.png'} does not exist")):
        read_image(tmp_path / "no.png")


# --- labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encode(Image.fromarray(np.array([[0, 1, 2]], np.uint8))), [[0, 1, 2]]),
        (encode(Image.fromarray(np.array([[1, 11, 255]], np.uint8))), [[1, VOID, VOID]]),
        # The indices, whatever colours they show in, also at 2 bits a pixel.
        (encode(palette_image([[2, 0, 1]], [[9, 9, 9]] * 256)), [[2, 0, 1]]),
        (encode(palette_image([[2, 0, 1]], [[9, 9, 9]] * 3), bits=2), [[2, 0, 1]]),
        (encode(Image.fromarray(np.array([[True, False]]))), [[1, 0]]),
        # Grey of 2 and 4 bits a pixel, which viewers stretch to 0..255.
        (raw_png(4, 1, 2, 0, [bytes([0b00_01_10_00])]), [[0, 1, 2, 0]]),
        (raw_png(2, 1, 4, 0, [bytes([0x1B])]), [[1, VOID]]),
    ],
    ids=["L", "void", "P", "P 2-bit", "1", "L 2-bit", "L 4-bit"],
)
def test_labels_are_class_indices(data, expected):
    label = decode_label(data, "truth.png", CLASSES)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, expected)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            encode(Image.fromarray(np.array([[0, 7, 3, 2]], np.uint8))),
            "truth.png holds the label values 3, 7; known are 0 to 2 for the classes "
            "and 11 or 255 for void",
        ),
        (
            encode(Image.fromarray(np.arange(100, 120, dtype=np.uint8)[None])),
            "the label values 100, 101, 102, 103, 104, ...; known",
        ),
        (encode(Image.fromarray(np.array([[254]], np.uint8))), "the label value 254; known"),
        (encode(Image.fromarray(COLOURS)), "kind RGB, and one 8-bit class index"),
        (encode(with_alpha(255)), "kind RGBA, and one 8-bit class index"),
        (encode(Image.fromarray(np.ones((1, 1), np.uint16))), "kind I;16, and one 8-bit class"),
        (encode(Image.fromarray(GREYS), "JPEG"), "is a JPEG, which alters labels"),
        (encode(Image.fromarray(GREYS))[:45], "truth.png cannot be read as an image"),
        (b"", "truth.png is empty"),
    ],
    ids=["range", "many", "one", "RGB", "RGBA", "16-bit", "JPEG", "truncated", "empty"],
)
def test_what_is_no_label_is_refused(data, message):
    with pytest.raises(UserError, match=re.escape(message)):
        decode_label(data, "truth.png", CLASSES)


# --- folders and writing ------------------------------------------------------------------------


def test_a_file_a_folder_or_a_pattern_names_images(tmp_path):
    names = ["b.png", "a.JPG", ".hidden.png", "notes.txt", "odd[1].png", "raw.data"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()

    def found(pattern):
        return [path.name for path in list_images(str(tmp_path / pattern))]

    assert found("") == ["a.JPG", "b.png", "odd[1].png"]
    assert found("*.png") == ["b.png", "odd[1].png"]
    assert found("*") == ["a.JPG", "b.png", "odd[1].png"]
    assert found("odd[1].png") == ["odd[1].png"]
    assert found("raw.data") == ["raw.data"]


def test_what_names_no_image_is_told(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=r"folder .* holds no image \(\.bmp, .*\.webp\)"):
        list_images(str(tmp_path))
    with pytest.raises(UserError, match=r"no image \(.*\) matches .*\*\.png"):
        list_images(str(tmp_path / "*.png"))
    with pytest.raises(UserError, match=r"none\.png does not exist"):
        list_images(str(tmp_path / "none.png"))


def test_a_palette_png_keeps_indices_and_shows_colours(tmp_path):
    labels = np.array([[0, 1, 2], [2, VOID, 0]], np.uint8)
    write_png(tmp_path / "p.png", labels, CLASSES.palette)
    with Image.open(tmp_path / "p.png") as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image), labels)
    np.testing.assert_array_equal(read_label(tmp_path / "p.png", CLASSES), labels)
    black = (0, 0, 0)
    road, sky, car = CLASSES.palette
    np.testing.assert_array_equal(
        read_image(tmp_path / "p.png"), [[road, sky, car], [car, black, road]]
    )


def test_grey_and_colour_pngs_come_back_as_written(tmp_path):
    write_png(tmp_path / "grey.png", GREYS)
    write_png(tmp_path / "rgb.png", COLOURS)
    with Image.open(tmp_path / "grey.png") as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.array(image), GREYS)
    np.testing.assert_array_equal(read_image(tmp_path / "rgb.png"), COLOURS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grey.png", "rgb.png"]
