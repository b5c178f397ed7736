"""Oxford Flowers 17 on files in its layout: what a flower is, sizes, splits, the download."""

import hashlib

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

import data
from data.oxford_flowers17 import CLASSES, download, matlab
from reseg_jax.errors import UserError
from reseg_jax.labels import VOID
from tests.support.dataset_files import pack, records_equal, refused, serving, write

pytestmark = pytest.mark.usefixtures("no_data_at_hand")

PALETTE = ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128))
IDS = {"trn1": [1, 3, 1041, 1269], "val1": [4], "tst1": [1270, 2], "trn2": [2], "val2": [4]}
INDICES = np.array([[0, 1, 1, 3], [2, 1, 3, 3], [4, 5, 0, 1]], np.uint8)
FLOWER = np.array([[0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


@pytest.fixture
def folder(tmp_path):
    """flowers17/ as published: every image, trimaps of some, in sizes of their own."""
    folder = tmp_path / "flowers17"
    for number in sorted({number for numbers in IDS.values() for number in numbers}):
        name = f"image_{number:04}"
        write(folder / "jpg" / f"{name}.jpg", np.full((6, 8, 3), number % 100 + 50, np.uint8))
        if number != 1041:
            write(folder / "trimaps" / f"{name}.png", INDICES, PALETTE)
    (folder / "jpg" / "files.txt").write_text("image_0001.jpg\n")
    (folder / "trimaps" / "imlist.mat").write_bytes(b"not read")
    savemat(folder / "datasplits.mat", {key: np.uint16([ids]) for key, ids in IDS.items()})
    return folder


def test_the_flower_is_a_color_and_38_its_gray_level(folder):
    (example,) = data.load("oxford_flowers17", "val", folder.parent)
    np.testing.assert_array_equal(example.label, FLOWER)
    path = folder / "trimaps" / "image_0004.png"
    gray = np.array(Image.open(path).convert("L"))
    assert (np.array(Image.open(path)) == 38).sum() == 0  # 38 is no index of a class
    np.testing.assert_array_equal(gray == 38, FLOWER)
    for copy in (gray, INDICES, np.array(PALETTE, np.uint8)[INDICES]):  # copies in circulation
        write(path, copy)
        (example,) = data.load("oxford_flowers17", "val", folder)
        np.testing.assert_array_equal(example.label, FLOWER)


def test_another_order_of_the_palette_changes_nothing(folder):
    order = [3, 0, 5, 1, 2, 4]
    write(
        folder / "trimaps" / "image_0004.png",
        np.argsort(order).astype(np.uint8)[INDICES],
        [PALETTE[index] for index in order],
    )
    (example,) = data.load("oxford_flowers17", "val", folder)
    np.testing.assert_array_equal(example.label, FLOWER)


def test_unlabeled_pixels_are_background_or_void(folder):
    (example,) = data.load("oxford_flowers17", "val", folder, unlabeled="void")
    np.testing.assert_array_equal(example.label, np.where(INDICES == 0, VOID, FLOWER))
    (example,) = data.load("oxford_flowers17", "val", folder, unlabeled="background")
    np.testing.assert_array_equal(example.label, FLOWER)


def test_images_take_the_size_of_their_trimaps(folder):
    for number, example in zip((1, 3), data.load("oxford_flowers17", "train", folder), strict=True):
        assert example.image.shape == (3, 4, 3)
        np.testing.assert_allclose(example.image, number + 50, atol=2)


def test_splits_are_the_official_ones(folder, capsys):
    names = [example.name for example in data.load("oxford_flowers17", "train", folder)]
    assert names == ["image_0001", "image_0003"]  # 1041 has no trimap, that of 1269 is bad
    line = capsys.readouterr().err
    assert "oxford_flowers17 train: 2 images with a trimap of the 4 that are listed" in line
    assert "image_1269" in line
    (example,) = data.load("oxford_flowers17", "train", folder, fold="2")
    assert example.name == "image_0002"


def test_broken_files_are_reported_and_left_out(folder, capsys):
    write(folder / "trimaps" / "image_0001.png", 0 * INDICES, PALETTE)
    (example,) = data.load("oxford_flowers17", "train", folder)
    assert example.name == "image_0003"
    assert "image_0001 is left out: " in capsys.readouterr().err
    write(folder / "jpg" / "image_0003.jpg", np.zeros((6, 8, 3), np.uint8))
    refused("oxford_flowers17", "train", folder, "no image that can be used")
    assert "shows no flower" in capsys.readouterr().err


def test_what_cannot_be_meant_is_refused(folder):
    refused("oxford_flowers17", "val", folder, "unlabeled=white", "void", unlabeled="white")
    refused("oxford_flowers17", "val", folder, "fold=4", "1, 2, 3", fold="4")
    refused("oxford_flowers17", "val", folder, "color", "unlabeled, fold", color="red")
    refused("oxford_flowers17", "test", folder, "datasplits.mat", "tst2", fold="2")
    (folder / "datasplits.mat").write_bytes(b"<html>Sorry</html>")
    refused("oxford_flowers17", "val", folder, "datasplits.mat", download.URL)
    (folder / "datasplits.mat").unlink()
    refused("oxford_flowers17", "val", folder, "datasplits.mat", "does not exist")
    refused("oxford_flowers17", "val", folder / "jpg", "--data_dir", "trimaps")


def test_classes():
    assert data.classes("oxford_flowers17") is CLASSES
    assert CLASSES.names == ("background", "flower")


@pytest.fixture
def site(folder, tmp_path):
    """(URL, checks) of a server with the three files."""
    (tmp_path / "site").mkdir()
    pack(tmp_path / "site" / "17flowers.tgz", folder / "jpg")
    pack(tmp_path / "site" / "trimaps.tgz", folder / "trimaps")
    (tmp_path / "site" / "datasplits.mat").write_bytes((folder / "datasplits.mat").read_bytes())
    checks = {
        path.name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in (tmp_path / "site").iterdir()
    }
    with serving(tmp_path / "site") as (url, _):
        yield f"{url}/", checks


def test_download_brings_three_files(site, tmp_path, capsys):
    url, checks = site
    assert checks.keys() == download.CHECKS.keys()
    got = download.fetch(url, tmp_path / "got", checks)
    assert sorted(path.name for path in got.iterdir()) == ["datasplits.mat", "jpg", "trimaps"]
    assert sorted(got.parent.iterdir()) == [got]
    assert len(data.load("oxford_flowers17", "train", got)) == 2
    assert "without a stated license" in capsys.readouterr().err


def test_load_downloads_if_no_folder_is_named(site, monkeypatch):
    fetch = download.fetch
    monkeypatch.setattr(download, "fetch", lambda: fetch(site[0], None, site[1]))
    assert len(data.load("oxford_flowers17", "val")) == 1


@pytest.mark.parametrize("name", ["17flowers.tgz", "trimaps.tgz", "datasplits.mat"])
def test_other_files_than_the_published_are_refused(site, tmp_path, name):
    url, _ = site
    with pytest.raises(UserError, match=r"not that file.*--data_dir") as caught:
        download.fetch(url, tmp_path / "got", {name: download.CHECKS[name]})
    assert url + name in str(caught.value)
    assert not (tmp_path / "got" / "flowers17").exists()


def test_tfds_has_the_same_pixels(folder, tmp_path):
    write(folder / "trimaps" / "image_0002.png", INDICES, PALETTE)
    records_equal("oxford_flowers17", "train", folder, tmp_path)


ARRAYS = {
    "trn1": np.arange(100, dtype=np.uint16)[None],
    "val1": np.array([[1, 300], [2, -4]], np.int16),
    "tst1": np.array([[0.5, 1e300]]),
    "single": np.float32([[1.5]]),
    "none": np.zeros((0, 3)),
    "cube": np.arange(24, dtype=np.int64).reshape(2, 3, 4),
    "text": "no numbers",
    "record": {"field": 1},
}


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def arrays(request, tmp_path):
    savemat(tmp_path / "list.mat", ARRAYS, do_compression=request.param)
    return tmp_path / "list.mat"


def test_arrays_are_those_that_scipy_reads(arrays):
    theirs = loadmat(arrays)
    for name in ("trn1", "val1", "tst1", "single", "none", "cube"):
        np.testing.assert_array_equal(matlab.read(arrays, name), theirs[name])
    for name in ("text", "record"):
        with pytest.raises(ValueError, match="no array of real numbers"):
            matlab.read(arrays, name)
    with pytest.raises(KeyError):
        matlab.read(arrays, "trn9")


def test_a_list_that_states_to_be_larger_than_it_is(arrays):
    """SciPy makes room for all of it first: up to four gigabytes."""
    content = bytearray(arrays.read_bytes())
    content[132:136] = (3 << 30).to_bytes(4, "little")  # the size of the first element
    arrays.write_bytes(content)
    with pytest.raises(ValueError, match="bytes of an element of 3221225472 bytes are missing"):
        matlab.read(arrays, "trn1")


def test_a_list_of_a_type_that_is_none(tmp_path):
    """SciPy crashes at it."""
    savemat(tmp_path / "list.mat", {"trn1": np.array([[7, 8]], np.uint16)})
    content = (tmp_path / "list.mat").read_bytes()
    tag = (4 << 16 | 4).to_bytes(4, "little")  # four bytes of 16-bit numbers, in the tag itself
    assert content.count(tag) == 1
    (tmp_path / "list.mat").write_bytes(content.replace(tag, b"\xff\x00\x04\x00"))
    with pytest.raises(ValueError, match="type 255, which are no numbers"):
        matlab.read(tmp_path / "list.mat", "trn1")


def test_a_list_of_zeros_is_not_unpacked(tmp_path):
    path = tmp_path / "list.mat"
    savemat(path, {"trn1": np.zeros((1, 2 << 20), np.uint8)}, do_compression=True)
    with pytest.raises(ValueError, match="of more than 1048576 bytes"):
        matlab.read(path, "trn1")
