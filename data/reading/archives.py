"""Archives from the network -> a dataset's folder in the cache, whole or not at all."""

import gzip
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from reseg_jax.errors import UserError
from reseg_jax.files.atomic import explain
from reseg_jax.files.download import download

BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile),
    *(zlib.error, EOFError, KeyError, NotImplementedError),
)
"""What reading an archive that is damaged, or another one, raises."""


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
                    f"{part.url} did not bring {what} as it should be ({error}): {advice}"
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
        with tarfile.open(archive) as content:
            for member in content:
                parent, name = member.name.split("/")[-2:] if "/" in member.name else ("", "")
                if not member.isfile() or parent not in folders or name.startswith("."):
                    continue
                (folder / parent).mkdir(parents=True, exist_ok=True)
                with (
                    content.extractfile(member) as source,
                    open(folder / parent / name, "wb") as to,
                ):
                    shutil.copyfileobj(source, to)
        for name in folders:
            if not (folder / name).is_dir():
                raise tarfile.ReadError(f"it holds no folder {name}")

    return unpack
