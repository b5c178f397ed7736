"""Bytes and JSON, changed at random: what a disk, a cut connection or a mean person makes of them.

Everything is drawn from the `random.Random` that is given: the same seed, the same change.
"""

import gzip
import io
import json
import random
import struct
import zipfile
import zlib
from collections.abc import Callable

_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
# Sizes and counts at the ends of what fields of 1, 2 and 4 bytes hold.

_JUNK = (
    *(None, True, False, -1, 0, 1, 255, 256, 1 << 31, 1 << 63, 10**40, 0.5, -0.0, 1e308),
    *(float("nan"), float("inf"), "", "x", "\ud800", "\0", "../..", "a" * 5000),
    *([], {}, [[]], [None], {"": ""}, {"x": {}}, [0] * 1000),
)


def flip(rng: random.Random, content: bytes) -> bytes:
    """One bit is another."""
    changed = bytearray(content)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(rng: random.Random, content: bytes) -> bytes:
    """The end is missing."""
    return content[: rng.randrange(1, len(content))] if len(content) > 1 else b""


def empty(rng: random.Random, content: bytes) -> bytes:
    """Nothing is left."""
    return b""


def zeros(rng: random.Random, content: bytes) -> bytes:
    """As many zeros, as some file systems leave after a power cut."""
    return bytes(len(content))


def zero_block(rng: random.Random, content: bytes) -> bytes:
    """A stretch of zeros, as of a sector that was not written."""
    return _with_part(rng, content, bytes)


def noise(rng: random.Random, content: bytes) -> bytes:
    """A stretch of random bytes."""
    return _with_part(rng, content, rng.randbytes)


def drop(rng: random.Random, content: bytes) -> bytes:
    """A stretch is missing."""
    return _with_part(rng, content, lambda _: b"")


def repeat(rng: random.Random, content: bytes) -> bytes:
    """A stretch is there twice."""
    begin, end = _part(rng, content)
    return content[:end] + content[begin:]


def extreme(rng: random.Random, content: bytes) -> bytes:
    """A number is as small or as large as can be."""
    packed = struct.pack(rng.choice("<>") + rng.choice("IHQ"), rng.choice(_EXTREMES) & 0xFFFF)
    if rng.random() < 0.5:
        packed = rng.choice((b"\xff", b"\x00", b"\x7f")) * rng.choice((1, 2, 4, 8))
    begin = rng.randrange(len(content))
    return content[:begin] + packed + content[begin + len(packed) :]


def _part(rng, content):
    begin = rng.randrange(len(content))
    return begin, min(len(content), begin + 1 + rng.randrange(max(1, min(64, len(content) // 4))))


def _with_part(rng, content, make):
    begin, end = _part(rng, content)
    return content[:begin] + make(end - begin) + content[end:]


DAMAGES = {"flip": flip, "cut": cut, "empty": empty, "zeros": zeros}
"""What happens to a file that was once right."""

_ALL = (flip, flip, cut, zero_block, noise, drop, repeat, extreme, extreme)


def mutate(rng: random.Random, content: bytes) -> bytes:
    """One to four changes."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        content = rng.choice(_ALL)(rng, content) if content else content
    return content


Mutation = Callable[[random.Random, bytes], bytes]


def mutate_json(rng: random.Random, content: bytes) -> bytes:
    """A value of a JSON text, or a key, is another one; or its bytes are changed."""
    if rng.random() < 0.3:
        return mutate(rng, content)
    value = json.loads(content)
    for _ in range(rng.choice((1, 1, 2))):
        value = _with_junk(rng, value)
    return json.dumps(value).encode()


def _with_junk(rng, value):
    if not isinstance(value, dict | list) or not value or rng.random() < 0.15:
        return rng.choice(_JUNK)
    if isinstance(value, list):
        place = rng.randrange(len(value))
        return [*value[:place], _with_junk(rng, value[place]), *value[place + 1 :]]
    key = rng.choice(list(value))
    changed = {name: inner for name, inner in value.items() if name != key}
    what = rng.random()
    if what < 0.1:
        return changed
    name = rng.choice(("", "x", key.upper(), "\ud800")) if what < 0.2 else key
    return {**changed, name: _with_junk(rng, value[key])}


def inside_zip(rng: random.Random, content: bytes) -> bytes:
    """A member is changed, or the archive's own bytes; its checksum is that of the change."""
    if rng.random() < 0.3:
        return mutate(rng, content)
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            member = old.read(name)
            if name == chosen:  # the beginning has the headers, and is short
                head, tail = member[:256], member[256:]
                member = mutate(rng, head) + tail if head else member
            new.writestr(name, member)
    return stream.getvalue()


def inside_png(rng: random.Random, content: bytes) -> bytes:
    """A chunk of a PNG is changed, and its checksum is that of the change."""
    if rng.random() < 0.3:
        return mutate(rng, content)
    chunks, at = [], 8  # after the signature
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    chosen = rng.randrange(len(chunks))
    kind, inner = chunks[chosen]
    if kind == b"IDAT" and rng.random() < 0.5:
        inner = zlib.compress(mutate(rng, zlib.decompress(inner)))
    else:
        inner = mutate(rng, inner)
    chunks[chosen] = kind, inner
    return content[:8] + b"".join(png_chunk(*chunk) for chunk in chunks)


def png_chunk(kind: bytes, inner: bytes) -> bytes:
    """A chunk of a PNG, with its length and checksum."""
    return (
        struct.pack(">I", len(inner)) + kind + inner + struct.pack(">I", zlib.crc32(kind + inner))
    )


def inside_gzip(rng: random.Random, content: bytes) -> bytes:
    """What is packed is changed, and packed again."""
    if rng.random() < 0.3:
        return mutate(rng, content)
    return gzip.compress(mutate(rng, gzip.decompress(content)))
