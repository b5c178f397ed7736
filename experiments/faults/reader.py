"""A reader of files from elsewhere: what it reads, and what may be asked of the result."""

import io
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.faults.mutations import Mutation
from experiments.faults.trials import Trial


class Reader(NamedTuple):
    """A kind of file.

    Attributes:
      name: of the kind.
      seeds: files of that kind that are right.
      mutation: what is made of them.
      read: reads a changed one, which it may put into a folder of its own; whether the result is
        one that the reader may give.
    """

    name: str
    seeds: Sequence[bytes]
    mutation: Mutation
    read: Callable[[bytes, Path], bool]


def trial(reader: Reader, seed: str, scratch: Path) -> Trial:
    """A changed file is read; `seed` is what is drawn from."""

    def run():
        rng = random.Random(f"{reader.name}/{seed}")
        content = reader.mutation(rng, rng.choice(reader.seeds))
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            return reader.read(content, Path(folder))

    return Trial(f"input: {reader.name}", f"seed {reader.name}/{seed}", run)


def read_right_files(found: Sequence[Reader], scratch: Path) -> None:
    """Have every reader read its right files, after which nothing is left to compile."""
    for reader in found:
        for seed in reader.seeds:
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                if not reader.read(seed, Path(folder)):
                    raise RuntimeError(f"a right file is not read: {reader.name}")


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
