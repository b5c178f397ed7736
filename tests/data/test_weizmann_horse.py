"""Weizmann horses: sizes, thresholds, what is left out, splits, download, the real files."""

import hashlib

import numpy as np
import pytest

import data
from data.weizmann_horse import CLASSES, download, read_splits
from reseg_jax.errors import UserError
from tests.support.dataset_files import pack, records_equal, refused, serving, write

pytestmark = pytest.mark.usefixtures("no_data_at_hand")

TRAIN = [name for name, split in read_splits().items() if split == "train"][:4]
VAL = [name for name, split in read_splits().items() if split == "val"][:1]


def mask(number, height, width):
    """A filled rectangle in an image of that size."""
    label = np.zeros((height, width), np.uint8)
    label[2 : height // 2 + number, 3 : width - 4] = 1
    return label


@pytest.fixture
def folder(tmp_path):
    """weizmann_horse_db/ with four training horses and one for validation, as published."""
    folder = tmp_path / "weizmann_horse_db"
    for number, name in enumerate(TRAIN + VAL):
        height, width = 32 + 8 * number, 40 + 16 * number
        image = np.full((2 * height, 2 * width, 3), 40 * number + 20, np.uint8)
        write(folder / "rgb" / f"{name}.jpg", image, quality=95)
        write(folder / "gray" / f"{name}.jpg", image[::2, ::2, 0], quality=95)
        path = folder / "figure_ground" / f"{name}.jpg"
        write(path, 255 * mask(number, height, width), quality=75)
    return folder


def test_images_take_the_size_of_their_masks(folder):
    examples = data.load("weizmann_horse", "train", folder.parent)
    assert [example.name for example in examples] == sorted(TRAIN)
    for number, example in enumerate(examples):
        height, width = 32 + 8 * number, 40 + 16 * number
        assert example.image.shape == (height, width, 3)
        np.testing.assert_array_equal(example.label, mask(number, height, width))
        np.testing.assert_allclose(example.image, 40 * number + 20, atol=2)


@pytest.mark.parametrize(("value", "label"), [(127, 0), (128, 1), (254, 1)])
def test_masks_are_cut_at_mid_range(folder, value, label):
    values = np.full((8, 8), value, np.uint8)
    values[0, 0] = 255
    (folder / "figure_ground" / f"{VAL[0]}.jpg").unlink()
    write(folder / "figure_ground" / f"{VAL[0]}.png", values)
    (example,) = data.load("weizmann_horse", "val", folder)
    assert (example.label.ravel()[1:] == label).all()
    assert example.image.shape == (8, 8, 3)


def test_making_smaller_averages(folder):
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 200
    (folder / "rgb" / f"{VAL[0]}.jpg").unlink()
    write(folder / "rgb" / f"{VAL[0]}.png", stripes)
    (folder / "figure_ground" / f"{VAL[0]}.jpg").unlink()
    write(folder / "figure_ground" / f"{VAL[0]}.png", np.full((16, 16), 255, np.uint8))
    (example,) = data.load("weizmann_horse", "val", folder)
    np.testing.assert_allclose(example.image[2:-2, 2:-2], 100, atol=2)  # not 0 or 200


def test_broken_and_black_frames_are_reported_and_left_out(folder, capsys):
    broken, black, no_horse, good = TRAIN
    path = folder / "rgb" / f"{broken}.jpg"
    path.write_bytes(path.read_bytes()[:300])
    write(folder / "rgb" / f"{black}.jpg", np.full((64, 64, 3), 5, np.uint8))
    write(folder / "figure_ground" / f"{no_horse}.jpg", np.full((64, 64), 3, np.uint8))
    assert [example.name for example in data.load("weizmann_horse", "train", folder)] == [good]
    *lines, last = capsys.readouterr().err.splitlines()
    for name, word, line in zip(
        sorted(TRAIN)[:3], ("damaged", "black", "black"), lines, strict=True
    ):
        assert f"weizmann_horse train: {name} is left out" in line
        assert word in line
    assert last.startswith("weizmann_horse train: 1 images of the 200 that are listed; 196 are not")


def test_a_split_without_a_good_image(folder, capsys):
    write(folder / "rgb" / f"{VAL[0]}.jpg", np.zeros((64, 64, 3), np.uint8))
    refused("weizmann_horse", "val", folder, "no image that can be used")
    refused("weizmann_horse", "test", folder, "weizmann_horse test", "no image that can be used")


def test_horses_outside_the_list_are_reported(folder, capsys):
    for part in ("rgb", "figure_ground"):
        path = folder / part / f"{VAL[0]}.jpg"
        path.with_stem("horse329").write_bytes(path.read_bytes())  # the paper counts 329
    assert len(data.load("weizmann_horse", "val", folder)) == 1
    assert "in no split: horse329" in capsys.readouterr().err


def test_other_layouts_are_refused(folder, tmp_path):
    (tmp_path / "other").mkdir()
    refused("weizmann_horse", "val", tmp_path / "other", "--data_dir", "figure_ground", "other")
    (folder / "rgb").rename(folder / "color")
    refused("weizmann_horse", "val", folder, folder / "rgb", "not there")


def test_the_split_is_published_and_can_be_drawn_again():
    splits = read_splits()
    assert list(splits) == [f"horse{number:03}" for number in range(1, 329)]
    order = sorted(splits, key=lambda name: hashlib.sha256(f"2016/{name}".encode()).hexdigest())
    assert [splits[name] for name in order] == 200 * ["train"] + 28 * ["val"] + 100 * ["test"]


def test_classes():
    assert CLASSES.names == ("background", "horse")
    assert data.classes("weizmann_horse") is CLASSES


@pytest.fixture
def site(folder, tmp_path):
    """A server with the archive as it is published."""
    (tmp_path / "site").mkdir()
    pack(tmp_path / "site" / "weizmann_horse_db.tar.gz", folder)
    with serving(tmp_path / "site") as (url, requests):
        yield f"{url}/weizmann_horse_db.tar.gz", requests


def test_download_brings_both_folders_once(site, folder, tmp_path, capsys):
    url, requests = site
    got = download.fetch(url, tmp_path / "got")
    assert sorted(path.name for path in got.iterdir()) == ["figure_ground", "rgb"]
    assert sorted(got.parent.iterdir()) == [got]
    for ours, theirs in zip(
        data.load("weizmann_horse", "train", got),
        data.load("weizmann_horse", "train", folder),
        strict=True,
    ):
        np.testing.assert_array_equal(ours.image, theirs.image)
        np.testing.assert_array_equal(ours.label, theirs.label)
    assert "no license is stated" in capsys.readouterr().err
    assert download.fetch(url, tmp_path / "got") == got
    assert len(requests) == 1


def test_load_downloads_if_no_folder_is_named(site, tmp_path, monkeypatch):
    url, _ = site
    fetch = download.fetch
    monkeypatch.setattr(download, "fetch", lambda: fetch(url))
    assert len(data.load("weizmann_horse", "train")) == 4
    assert (tmp_path / "cache" / "weizmann_horse" / "weizmann_horse_db" / "rgb").is_dir()


@pytest.mark.parametrize("damage", ["no archive", "cut short", "another archive", "empty"])
def test_a_wrong_archive_leaves_nothing(site, folder, tmp_path, damage):
    url, _ = site
    archive = tmp_path / "site" / "weizmann_horse_db.tar.gz"
    if damage == "no archive":
        archive.write_bytes(b"<html>Sorry</html>")
    if damage == "cut short":
        archive.write_bytes(archive.read_bytes()[:-200])
    if damage == "another archive":
        pack(archive, folder / "rgb")
    if damage == "empty":
        archive.write_bytes(b"")
    with pytest.raises(UserError, match="--data_dir") as caught:
        download.fetch(url, tmp_path / "got")
    assert url in str(caught.value)
    assert list((tmp_path / "got").iterdir()) == []


def test_tfds_has_the_same_pixels(folder, tmp_path):
    (folder / "figure_ground" / f"{TRAIN[0]}.jpg").unlink()
    write(folder / "figure_ground" / f"{TRAIN[0]}.png", 255 * mask(0, 32, 40))
    test = next(name for name, split in read_splits().items() if split == "test")
    for part in ("rgb", "figure_ground"):
        path = folder / part / f"{VAL[0]}.jpg"
        path.with_stem(test).write_bytes(path.read_bytes())
    records_equal("weizmann_horse", "train", folder, tmp_path)


@pytest.fixture(scope="module")
def real_horses(real_data):
    if not (real_data / "weizmann_horse" / "figure_ground").is_dir():
        pytest.skip("no real horses")
    return real_data / "weizmann_horse"


def test_real_horses(real_horses):
    """Shares of all 328 horses; they hold for a random subset (248 were available) as well."""
    examples = [
        example
        for split in data.SPLITS
        for example in data.load("weizmann_horse", split, real_horses)
    ]
    assert len({example.name for example in examples}) == len(examples) > 200
    for example in examples:
        assert example.image.shape == (*example.label.shape, 3)
        assert set(np.unique(example.label)) == {0, 1}
    assert len({example.label.shape for example in examples}) > 0.9 * len(examples)
    # All 328: 25.2 % of an image are horse in the mean over images, 22.7 % over all pixels.
    per_image = np.mean([example.label.mean() for example in examples])
    pooled = sum(int(e.label.sum()) for e in examples) / sum(e.label.size for e in examples)
    np.testing.assert_allclose([per_image, pooled], [0.252, 0.227], atol=0.01)
