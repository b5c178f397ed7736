"""Files decoded in threads."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

File = TypeVar("File")
Decoded = TypeVar("Decoded")


def decode_all(read: Callable[[File], Decoded], files: Iterable[File]) -> list[Decoded]:
    """`read` of each file, or pair of files, in order, on several threads.

    Decoding releases the interpreter's lock, so that threads do in parallel what costs the time.

    Raises:
      UserError: of the first file for which `read` raises it.
    """
    with ThreadPoolExecutor() as pool:
        return list(pool.map(read, files))
