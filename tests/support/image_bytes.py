"""Image files as bytes, also of kinds that Pillow does not write."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

COLORS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 70, 200]]], np.uint8)
GRAYS = np.array([[0, 50, 100], [150, 200, 255]], np.uint8)


def encode(image, format_="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, format_, **options)
    return stream.getvalue()


def raw_png(width, height, depth, color_type, rows):
    """A PNG written by hand from the specification, for what Pillow does not write."""

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def with_alpha(alpha):
    return Image.fromarray(np.dstack([COLORS, np.full((2, 2), alpha, np.uint8)]))


def palette_image(values, colors):
    image = Image.fromarray(np.asarray(values, np.uint8))
    image.putpalette(np.asarray(colors, np.uint8).tobytes())
    return image
