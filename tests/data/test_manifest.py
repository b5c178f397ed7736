"""A run knows its files by their contents: changed ones are refused, moved ones found again."""

import json
import os
import shutil

import numpy as np
import pytest

import data
from data import manifest
from reseg_jax.errors import UserError
from tests.support.camvid_files import small_camvid
from tests.support.dataset_files import write
from tests.support.folder_data import dataset, photo, truth, write_table

NAMES = ("train/a", "train/b", "train/c", "val/d")


@pytest.fixture
def mydata(tmp_path):
    return dataset(tmp_path / "data", {name: truth(n) for n, name in enumerate(NAMES)})


def check(workdir, folder, **options):
    pairs = data.pairs("folder", folder, **options)
    manifest.write(workdir, manifest.compare(workdir, pairs))


def refuses(workdir, folder, *words):
    before = (workdir / manifest.NAME).read_bytes()
    with pytest.raises(UserError) as caught:
        check(workdir, folder)
    assert all(str(word) in str(caught.value) for word in (workdir, *words)), caught.value
    assert (workdir / manifest.NAME).read_bytes() == before


def test_what_changed_is_counted_and_named(mydata, tmp_path):
    check(tmp_path, mydata)
    check(tmp_path, mydata)  # nothing did
    write(mydata / "labels/train/b.png", truth(2)[::-1])
    refuses(tmp_path, mydata, "train has 1 with another label (b)")
    write(mydata / "labels/train/b.png", truth(1))
    write(mydata / "images/val/d.png", photo("other"))
    refuses(tmp_path, mydata, "val has 1 with another image (d)")
    write(mydata / "images/val/d.png", photo("val/d"))
    for number in range(5):
        write(mydata / f"images/train/new{number}.png", photo("new"))
        write(mydata / f"labels/train/new{number}.png", truth(0))
    refuses(tmp_path, mydata, "train has 5 more (new0, new1, new2, ...)")
    for place in ("images", "labels"):
        for path in (mydata / place / "train").glob("[cn]*"):
            path.unlink()
    refuses(tmp_path, mydata, "train has 1 fewer (c)")


def test_changes_of_one_split_are_told_without_a_refusal(mydata, tmp_path):
    check(tmp_path, mydata)
    val = data.pairs("folder", mydata)["val"]
    assert manifest.changes(tmp_path, "val", val) == ""
    write(mydata / "labels/val/d.png", truth(1))
    write(mydata / "labels/train/b.png", truth(2))
    assert manifest.changes(tmp_path, "val", val) == "val has 1 with another label (d)"
    assert manifest.changes(tmp_path, "test", val) == ""
    (tmp_path / manifest.NAME).unlink()  # of an older version
    assert manifest.changes(tmp_path, "val", val) == ""


def test_moved_data_and_other_colors_are_the_same_data(mydata, tmp_path):
    check(tmp_path, mydata)
    moved = tmp_path / "elsewhere"
    shutil.copytree(mydata, moved)
    shutil.rmtree(mydata)
    write_table(moved, {"names": ["background", "object"], "palette": [[9, 9, 9], [8, 8, 8]]})
    places = {place: moved / place for place in ("images", "labels")}
    check(tmp_path, None, classes=moved / "classes.json", **places)
    check(tmp_path, moved)


def test_contents_are_read_again_only_if_size_or_time_differ(mydata, tmp_path, monkeypatch):
    check(tmp_path, mydata)
    read = []
    digest = manifest._sha256
    monkeypatch.setattr(manifest, "_sha256", lambda path: read.append(path) or digest(path))
    check(tmp_path, mydata)
    assert read == []
    os.utime(mydata / "images/train/a.png", (1, 1))
    check(tmp_path, mydata)
    assert read == [mydata / "images/train/a.png"]


def test_a_damaged_manifest_is_one_sentence(mydata, tmp_path):
    check(tmp_path, mydata)
    path = tmp_path / manifest.NAME
    whole = path.read_text()
    content = json.loads(whole)
    content["splits"]["train"][0][1] = "0" * 64
    for text in (whole[:50], "[]", "{}", json.dumps(content)):
        path.write_text(text)
        refuses(tmp_path, mydata, path, "damaged")


def test_only_files_that_a_user_brings_are_listed(tmp_path, no_data_at_hand):
    assert data.pairs("toy") is None
    assert data.pairs("camvid") is None
    pairs = data.pairs("camvid", small_camvid(tmp_path))
    assert {split: len(found) for split, found in pairs.items()} == {"train": 3, "val": 1}
    held_out = data.pairs("camvid", tmp_path, hold_out="b_")
    assert [pair.name for pair in held_out["val"]] == ["b_2"]
    manifest.write(tmp_path, manifest.compare(tmp_path, {}))
    assert not (tmp_path / manifest.NAME).exists()


def test_large_data_is_said(mydata, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(manifest, "LARGE", 10)
    with caplog.at_level("INFO", "reseg_jax"):
        check(tmp_path, mydata)
    assert "checksums of 8 files" in caplog.text
    assert np.all(
        [len(rest) == 3 for rest in manifest._read(tmp_path / "data.json")["files"].values()]
    )
