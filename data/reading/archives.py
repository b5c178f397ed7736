"""Archives from the network -> a dataset's folder in the cache, whole or not at all."""

import contextlib
import gzip
import io
import lzma
import os
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from reseg_jax.errors import UserError, first_line
from reseg_jax.files.atomic import explain
from reseg_jax.files.download import download

BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError),
    *(EOFError, LookupError, ValueError, RuntimeError),  # RuntimeError: it is encrypted
)
"""What reading an archive that is damaged, or another one, raises."""

MOST_BYTES = 4 << 30
"""Of an archive's unpacked files; the largest dataset here, CamVid, has less than a tenth."""

MOST_MEMBERS = 10_000
"""Of an archive; CamVid's has two thousand. To make ten thousand files takes about a second."""

_CHUNK = 1 << 20  # bytes that are copied at once
_LONGEST_HEADER = 1 << 20  # bytes of a name in a tar file; no system takes one of more than 4096


class Part(NamedTuple):
    """One download, and what puts its content into a folder.

    Attributes:
      url: where it is.
      unpack: (the file, the folder) -> None; may raise one of BROKEN.
      checks: arguments of `reseg_jax.files.download.download`: sha256, md5, size.
    """

    url: str
    unpack: Callable[[Path, Path], None]
    checks: dict = {}  # noqa: RUF012


def fetch(target: Path, parts: Sequence[Part], what: str, notice: str, advice: str) -> Path:
    """The folder `target`, made from all `parts` if it is not there.

    It appears when everything is there and right; the archives are then removed.

    Args:
      target: the folder.
      parts: the downloads that fill it.
      what: what is fetched, for messages.
      notice: who made it and on which terms; printed before the download.
      advice: what to do if it cannot be downloaded, for messages.

    Returns:
      `target`.

    Raises:
      UserError: a download fails or is not what it should be, or the disk cannot be written.
    """
    if target.is_dir():
        return target
    print(notice, file=sys.stderr)
    files = []
    for part in parts:
        path = target.parent / Path(part.url).name
        files.append(download(part.url, path, what=what, advice=advice, **part.checks))
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        folder = Path(temporary) / target.name
        for part, file in zip(parts, files, strict=True):
            try:
                part.unpack(file, folder)
            except BROKEN as error:
                file.unlink()
                raise UserError(
                    f"{part.url} did not bring {what} as it should be ({first_line(error)}): "
                    f"{advice}"
                ) from error
            except OSError as error:
                raise UserError(f"cannot write {target}: {explain(error)}") from error
        try:
            os.replace(folder, target)
        except OSError as error:
            if not target.is_dir():  # else another process was first
                raise UserError(f"cannot write {target}: {explain(error)}") from error
    for file in files:
        file.unlink(missing_ok=True)
    return target


def unpack_tar(folders: Sequence[str]) -> Callable[[Path, Path], None]:
    """A `Part.unpack` for a tar file: the files in `folders`, wherever these are in the archive.

    They are put into folders of those names; each must get at least one file.
    """

    def unpack(archive, folder):
        room = Room()
        with _open_tar(archive) as content:
            for member in content:
                room.enter()
                parent, name = member.name.split("/")[-2:] if "/" in member.name else ("", "")
                if not member.isfile() or parent not in folders or name.startswith("."):
                    continue
                (folder / parent).mkdir(parents=True, exist_ok=True)
                with (
                    content.extractfile(member) as source,
                    open(folder / parent / name, "wb") as to,
                ):
                    room.copy(source, to)
        for name in folders:
            if not (folder / name).is_dir():
                raise tarfile.ReadError(f"it holds no folder {name}")

    return unpack


class Room:
    """How much an archive may still unpack, so that a small one does not fill the disk."""

    def __init__(self):
        self.bytes, self.members = MOST_BYTES, MOST_MEMBERS

    def enter(self) -> None:
        """Counts a member."""
        self.members -= 1
        if self.members < 0:
            raise tarfile.ReadError(f"it has more than {MOST_MEMBERS} members")

    def copy(self, source, to) -> None:
        """Copies an open member into an open file."""
        while chunk := source.read(_CHUNK):
            self.bytes -= len(chunk)
            if self.bytes < 0:
                raise tarfile.ReadError(f"unpacked it has more than {MOST_BYTES} bytes")
            to.write(chunk)


class _Bounded(io.RawIOBase):
    """An unpacked tar file that gives no more than its reader can want: names are read at once."""

    def __init__(self, file):
        self.file = file

    def read(self, size=-1):
        if not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError("it has a name or a header of unreasonable length")
        return self.file.read(size)

    def seek(self, position, whence=os.SEEK_SET):
        if position > MOST_BYTES:  # what is passed over is unpacked, too
            raise tarfile.ReadError(f"unpacked it has more than {MOST_BYTES} bytes")
        return self.file.seek(position, whence)

    def tell(self):
        return self.file.tell()


@contextlib.contextmanager
def _open_tar(archive):
    """A tar file, with or without gzip."""
    with open(archive, "rb") as raw, contextlib.ExitStack() as stack:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        file = stack.enter_context(gzip.open(raw)) if packed else raw
        yield stack.enter_context(tarfile.open(fileobj=_Bounded(file), mode="r:"))
