"""Which label belongs to which photo, and who divides them: layouts that people bring."""

import os
import unicodedata

import numpy as np
import pytest

import data
from data.folder.dividing import split_of
from data.folder.pairing import File, partners
from reseg_jax.files.walk import walk
from tests.support.dataset_files import refused, write
from tests.support.folder_data import TWO, dataset, photo, truth, write_table


def files(folder, photos, labels):
    """Photos and labels of these names, numbered in order; label n is `truth(n)`."""
    for number, name in enumerate(photos):
        write(folder / name, photo(str(number)))
    for number, name in enumerate(labels):
        write(folder / name, truth(number))
    write_table(folder, TWO)
    return folder


def found(folder, splits=("train", "val"), **options):
    """{split/name: number of the label} after a check that each photo has its own label."""
    numbers = {}
    for split in splits:
        for example in data.load("folder", split, folder, **options):
            (number,) = (n for n in range(3) if np.array_equal(example.label, truth(n)))
            np.testing.assert_array_equal(example.image, photo(str(number)))
            numbers[f"{split}/{example.name}"] = number
    return numbers


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("photo_name", "label_name"),
    [
        ("{}", "{}_mask"),
        ("{}", "{}_L"),
        ("{}", "{}_GT"),
        ("{}", "mask_{}"),
        ("{}_sat", "{}_mask"),
        ("city/{}_leftImg8bit", "city/{}_gtFine_labelIds"),
        ("{}_training", "{}_manual1"),
        ("img_{}", "mask_{}"),
        ("img.{}", "img.{}.mask"),
    ],
)
def test_the_usual_additions_to_names_are_known_and_said(tmp_path, caplog, photo_name, label_name):
    names = ("07_a", "08_b", "09_c")
    photos = [f"images/{photo_name.format(name)}.png" for name in names]
    labels = [f"labels/{label_name.format(name)}.png" for name in names]
    with caplog.at_level("INFO", "reseg_jax"):
        assert sorted(found(files(tmp_path, photos, labels)).values()) == [0, 1, 2]
    assert "their labels" in caplog.text


def test_a_pattern_names_labels_among_other_files(tmp_path, caplog):
    """Cityscapes' folder has three pictures per photo; only a pattern says which is meant."""
    names = ("a_1", "b_2", "c_3")
    photos = [f"images/{name}_leftImg8bit.png" for name in names]
    labels = [f"labels/{name}_gtFine_labelIds.png" for name in names]
    folder = files(tmp_path, photos, labels)
    for name in names:
        write(folder / f"labels/{name}_gtFine_instanceIds.png", truth(0) + 9)
    refused("folder", "train", folder, "has no image", "instanceIds.png")
    with caplog.at_level("INFO", "reseg_jax"):
        numbers = found(folder, label_pattern="{name}_gtFine_labelIds.png")
    assert sorted(numbers.values()) == [0, 1, 2]
    assert "3 other files beside them are not used" in caplog.text
    for pattern, words in {
        "{name}_x.png": ["none of 6 files"],
        "mask.png": ["write a file name with {name}"],
        "{name}_gtFine_instanceIds.tif": ["none of 6 files"],
    }.items():
        refused("folder", "train", folder, pattern, *words, label_pattern=pattern)


def test_an_unusual_addition_is_hinted_at(tmp_path):
    folder = files(
        tmp_path, ["images/a.png", "images/b.png"], ["labels/a_q7.png", "labels/b_q7.png"]
    )
    refused("folder", "train", folder, "images/a.png has no label", "--label_pattern={name}_q7.png")
    assert sorted(found(folder, label_pattern="{name}_q7.png").values()) == [0, 1]


def test_names_in_large_and_small_letters_pair_if_nothing_else_is_alike(tmp_path, caplog):
    """Windows and macOS keep IMG_1 and img_1 for one name."""
    photos = [f"images/{name}.png" for name in ("IMG_1", "Img_2", "sub/c")]
    folder = files(tmp_path, photos, [f"labels/{n}_mask.png" for n in ("img_1", "IMG_2", "SUB/C")])
    with caplog.at_level("INFO", "reseg_jax"):
        numbers = found(folder)
    assert sorted(numbers.values()) == [0, 1, 2]
    assert {name.partition("/")[2] for name in numbers} == {"IMG_1", "Img_2", "sub/c"}
    assert "without regard to large and small letters" in caplog.text
    write(folder / "images/img_1.png", photo("0"))
    refused("folder", "train", folder, "has no label")  # which of the two is meant?


def test_labels_of_some_photos(tmp_path):
    """`predict` is given photos without labels, and labels in other folders."""

    def listed(*names):
        return [File(*name.rpartition("/")[::2], tmp_path / name) for name in names]

    def paired(photos, labels):
        found = partners(listed(*photos), listed(*labels))
        return {str(p.relative_to(tmp_path)): str(found[p].relative_to(tmp_path)) for p in found}

    assert paired(["a", "b"], ["b", "c"]) == {"b": "b"}
    assert paired(["x/a"], ["a"]) == {"x/a": "a"}
    assert paired(["x/a", "y/a"], ["a"]) == {}  # of which of the two?
    assert paired(["IMG_1", "b"], ["img_1", "b"]) == {"IMG_1": "img_1", "b": "b"}
    assert paired(["IMG_1", "img_1"], ["img_1"]) == {"img_1": "img_1"}  # and no label twice
    assert paired(["IMG_1", "b"], ["img_1", "Img_1", "b"]) == {"b": "b"}


def test_a_label_that_is_missing_is_expected_as_the_others_are_called(tmp_path):
    photos = [f"images/{name}.png" for name in "abc"]
    folder = files(tmp_path, photos, [f"labels/{name}_mask.png" for name in "ab"])
    refused("folder", "val", folder, "images/c.png has no label", "labels/c_mask.png")
    files(folder, [], ["labels/a_mask.png", "labels/b_mask.png", "labels/c_mask.png"])
    (folder / "images/b.png").unlink()
    refused("folder", "val", folder, "labels/b_mask.png has no image", "called b")


@pytest.mark.parametrize("forms", [("NFD", "NFC"), ("NFC", "NFD")])
def test_names_with_accents_pair_however_they_are_composed(tmp_path, forms):
    names = ("café", "über/señal", "Ångström")
    photos, labels = (
        [f"{place}/{unicodedata.normalize(form, name)}{end}.png" for name in names]
        for form, place, end in zip(forms, ("images", "labels"), ("", "_mask"), strict=True)
    )
    assert sorted(found(files(tmp_path, photos, labels)).values()) == [0, 1, 2]
    (tmp_path / labels[0]).rename(tmp_path / "labels/none.png")
    refused("folder", "train", tmp_path, "has no label")


def test_two_photos_of_one_name_are_named_and_none_is_to_be_removed(tmp_path):
    folder = files(tmp_path, ["images/a.png", "images/a.jpg", "images/b.png"], ["labels/a.png"])
    refused("folder", "train", folder, "a.jpg", "a.png", "move or rename")


# --- one folder for photos and labels ----------------------------------------------------------


@pytest.mark.parametrize(
    ("photo_suffix", "label_suffix"),
    [(".jpg", ".png"), (".png", "_mask.png"), (".jpg", "_mask.png"), (".jfif", "_label.tif")],
)
def test_one_folder_holds_both(tmp_path, photo_suffix, label_suffix):
    for number in range(5):
        image = np.full((6, 8, 3), 40 * number, np.uint8)
        kind = {"format": "JPEG"} if photo_suffix == ".jfif" else {}
        write(tmp_path / "all" / f"{number}{photo_suffix}", image, **kind)
        write(tmp_path / "all" / f"{number}{label_suffix}", truth(number))
    write_table(tmp_path, TWO)
    places = {"images": tmp_path / "all", "labels": tmp_path / "all"}
    places["classes"] = tmp_path / "classes.json"
    train, val = (data.load("folder", split, **places) for split in ("train", "val"))
    assert len(train) == 4
    for name, image, label in (*train, *val):
        assert abs(int(image.mean()) - 40 * int(name)) < 3
        np.testing.assert_array_equal(label, truth(int(name)))
    pattern = "{name}" + label_suffix
    assert len(data.load("folder", "train", label_pattern=pattern, **places)) == 4


def test_one_folder_without_a_clue_is_a_question(tmp_path):
    folder = files(tmp_path, ["all/a.png", "all/b.png"], ["all/a_q.png", "all/b_q.png"])
    places = {"images": folder / "all", "labels": folder / "all"}
    refused("folder", "train", folder, "--label_pattern={name}_mask.png", **places)
    assert len(data.load("folder", "val", folder, label_pattern="{name}_q.png", **places)) == 1


def test_labels_in_a_folder_among_the_photos_are_no_photos(tmp_path):
    folder = files(tmp_path, ["all/a.png", "all/b.png"], ["all/masks/a.png", "all/masks/b.png"])
    places = {"images": folder / "all", "labels": folder / "all/masks"}
    assert len(data.load("folder", "train", folder, **places)) == 1


# --- folders -----------------------------------------------------------------------------------


def test_links_are_followed_and_loops_refused(tmp_path):
    files(tmp_path, ["images/a.png", "store/p/b.png"], ["labels/a.png", "store/l/b.png"])
    for place, target in (("images", "p"), ("labels", "l")):
        (tmp_path / place / "linked").symlink_to(tmp_path / "store" / target)
    assert sorted(found(tmp_path)) in (["train/a", "val/linked/b"], ["train/linked/b", "val/a"])
    (tmp_path / "store/p/back").symlink_to(tmp_path / "images")
    refused("folder", "train", tmp_path, "back", "link", "remove the link")


def test_other_files_are_counted_and_other_formats_read(tmp_path, caplog):
    for number, suffix in enumerate((".jfif", ".jpe", ".avif", ".jp2")):
        kind = "JPEG" if suffix in (".jfif", ".jpe") else None
        write(
            tmp_path / "images" / f"{number}{suffix}", np.zeros((16, 16, 3), np.uint8), format=kind
        )
        write(tmp_path / "labels" / f"{number}.png", truth(number, (16, 16)))
    for name in ("x.heic", "y.HEIC", "notes"):
        (tmp_path / "images" / name).write_bytes(b"?")
    write_table(tmp_path, TWO)
    with caplog.at_level("INFO", "reseg_jax"):
        assert len(data.load("folder", "train", tmp_path)) == 3
    assert "3 other files are not read: 2 .heic, 1 no suffix" in caplog.text


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    files(tmp_path, ["images/a.png"], ["labels/a.png"])
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("images"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    refused("folder", "train", tmp_path, "images cannot be read: Permission denied")
    monkeypatch.undo()
    assert walk(tmp_path, [".png"]).ignored == {".json": 1}


@pytest.mark.parametrize(
    ("images", "labels"),
    [("images", "masks"), ("JPEGImages", "SegmentationClass"), ("Imgs", "annotations")],
)
def test_the_usual_names_of_the_two_folders_are_known_and_said(tmp_path, caplog, images, labels):
    names = ("a", "b", "c")
    folder = files(tmp_path, *([f"{top}/{n}.png" for n in names] for top in (images, labels)))
    with caplog.at_level("INFO", "reseg_jax"):
        assert sorted(found(folder).values()) == [0, 1, 2]
    assert f"labels are those in {folder / labels}" in caplog.text
    (folder / "gt").mkdir()
    refused("folder", "train", folder, f"{labels}", "gt", "--labels")
    (folder / "gt").rename(folder / "labels")  # the documented name counts first
    refused("folder", "train", folder, "labels holds no")


# --- splits ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "val", "images", "labels"),
    [("train", "val", "images", "labels"), ("Training", "valid", "image", "Masks")],
)
def test_a_folder_per_split_holds_both(tmp_path, caplog, train, val, images, labels):
    photos = [f"{train}/{images}/x/a.png", f"{train}/{images}/b.png", f"{val}/{images}/c.png"]
    masks = [f"{train}/{labels}/x/a.png", f"{train}/{labels}/b.png", f"{val}/{labels}/c.png"]
    folder = files(tmp_path, photos, masks)
    with caplog.at_level("INFO", "reseg_jax"):
        assert found(folder) == {"train/x/a": 0, "train/b": 1, "val/c": 2}
    assert "images and labels by split" in caplog.text
    assert len(data.pairs("folder", folder)["train"]) == 2
    refused("folder", "test", folder, "no test split")
    write(folder / f"test/{images}/d.png", photo("d"))
    assert len(found(folder)) == 3
    refused("folder", "test", folder, "has no test split", "add")
    (folder / masks[1]).unlink()
    refused("folder", "train", folder, "b.png has no label", f"expected {folder / masks[1]}")
    refused("folder", "train", folder, "folder per split", lists=folder)
    (folder / "fold3" / images).mkdir(parents=True)
    refused("folder", "train", folder, "fold3", "called as no split", "rename")
    (folder / "fold3").rename(folder / "TRAIN")
    refused("folder", "train", folder, "TRAIN", train, "one folder")


def test_a_split_without_its_labels_is_named(tmp_path):
    folder = files(tmp_path, ["train/images/a.png", "val/images/b.png"], ["train/labels/a.png"])
    refused("folder", "train", folder, "val/images", "no folder labels")


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("training", "validation", "testing"),
        ("Train", "VALID", "Test"),
        ("train2017", "val2017", "test2017"),
    ],
)
def test_the_usual_folders_are_splits(tmp_path, train, val, test):
    photos = [f"images/{train}/a.png", f"images/{val}/b.png", f"images/{test}/c.png"]
    labels = [f"labels/{train}/a.png", f"labels/{val}/b_mask.png", f"labels/{test}/c.png"]
    folder = files(tmp_path, photos, labels)
    refused("folder", "train", folder, f"{val}/b.png has no label")  # one way for all splits
    (folder / labels[1]).rename(folder / f"labels/{val}/b.png")
    expected = {"train/a": 0, "val/b": 1, "test/c": 2}
    assert found(folder, data.SPLITS) == expected


@pytest.mark.parametrize(
    "folders",
    [("train_1", "val_1"), ("fold0", "fold1"), ("cam/train", "cam/val"), ("trainval", "x")],
)
def test_folders_that_look_like_splits_are_never_merged(tmp_path, folders):
    one, two = folders
    photos = [f"images/{one}/a.png", f"images/{two}/b.png"]
    folder = files(tmp_path, photos, [name.replace("images", "labels") for name in photos])
    refused("folder", "train", folder, "looks like a split", one, "rename")
    (folder / "train.txt").write_text(f"{one}/a.png\n")  # an answer to the question
    (folder / "val.txt").write_text(f"{two}/b\n")
    assert found(folder) == {f"train/{one}/a": 0, f"val/{two}/b": 1}


def test_split_folders_win_over_lists_unless_lists_are_named(tmp_path, caplog):
    photos = ["images/train/a.png", "images/val/b.png"]
    folder = files(tmp_path, photos, [name.replace("images", "labels") for name in photos])
    (folder / "train.txt").write_text("b")
    (folder / "val.txt").write_text("a")
    with caplog.at_level("INFO", "reseg_jax"):
        assert found(folder) == {"train/a": 0, "val/b": 1}
    assert "split by the folders" in caplog.text
    assert found(folder, lists=folder) == {"train/val/b": 1, "val/train/a": 0}


def test_two_folders_of_one_split_and_names_that_divide_are_questions(tmp_path):
    photos = ["images/train/a.png", "images/Training/b.png"]
    folder = files(tmp_path / "a", photos, [name.replace("images", "labels") for name in photos])
    refused("folder", "train", folder, "Training and train", "one folder")
    photos = ["images/train_1.png", "images/val_1.png"]
    folder = files(tmp_path / "b", photos, [name.replace("images", "labels") for name in photos])
    refused("folder", "train", folder, "train_1.png and val_1.png", "train.txt")


def test_splits_that_are_not_complete(tmp_path, caplog):
    photos = ["images/train/a.png", "images/val/b.png", "images/test/c.png"]
    labels = [name.replace("images", "labels") for name in photos[:2]]
    folder = files(tmp_path, photos, labels)  # nobody has labeled the test split
    assert found(folder) == {"train/a": 0, "val/b": 1}
    refused("folder", "test", folder, "labels has no test split")
    write(folder / "images/loose.png", photo("loose"))
    with caplog.at_level("INFO", "reseg_jax"):
        assert len(found(folder)) == 2
    assert "1 images lie in no split, as loose.png" in caplog.text
    (folder / "labels/val/b.png").unlink()
    refused("folder", "train", folder, "labels/val", "not there")


def test_lists_of_names(tmp_path, caplog):
    photos = ["images/x/a.png", "images/b.png", "images/c d.png"]
    folder = files(tmp_path, photos, [name.replace("images", "labels") for name in photos])
    lists = folder / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("\ufeff/data/images/b.png /data/labels/b.png\nc d\n")
    (lists / "val.txt").write_text("a\n\n", encoding="utf-8")
    assert found(folder) == {"train/b": 1, "train/c d": 2, "val/x/a": 0}
    assert found(folder, lists=lists) == found(folder)
    (lists / "val.txt").write_text("a\nb\n")
    refused("folder", "train", folder, "val.txt lists b", "train.txt too")
    (lists / "val.txt").write_text("nobody\n")
    refused("folder", "train", folder, "val.txt lists 'nobody'", "no image")
    (lists / "val.txt").write_text("a\n")
    (lists / "train.txt").write_text("b\n")
    with caplog.at_level("INFO", "reseg_jax"):
        assert len(found(folder)) == 2
    assert "1 images are in no list" in caplog.text
    (lists / "val.txt").unlink()
    refused("folder", "val", folder, "no val split", "train")
    refused("folder", "val", folder, "no train.txt", lists=folder)


def test_lists_of_a_part_of_the_images(tmp_path):
    """PASCAL VOC's way: most photos have no label, and some labels are of no list."""
    photos = [f"images/{name}.png" for name in "abcdefg"]
    folder = files(tmp_path, photos, [f"labels/{name}_mask.png" for name in "abc"])
    (folder / "train.txt").write_text("a\n")
    (folder / "val.txt").write_text("b\n")
    assert found(folder) == {"train/a": 0, "val/b": 1}
    (folder / "val.txt").write_text("b\ng\n")
    refused("folder", "train", folder, "images/g.png has no label", "labels/g_mask.png")


def test_what_a_split_is_called():
    assert split_of("Val2017") == "val"
    assert [split_of(name) for name in ("trains", "valley", "testament", "labelmap")] == [None] * 4


def test_an_empty_dataset_is_one_sentence(tmp_path):
    dataset(tmp_path, {})
    refused("folder", "train", tmp_path, "images", "not there", "images/ and labels/")
    for place in ("Shots", "Truth"):
        (tmp_path / place).mkdir()
    refused("folder", "train", tmp_path, "Shots, Truth", "--images")
    places = {"images": tmp_path / "Shots", "labels": tmp_path / "Truth"}
    refused("folder", "train", tmp_path, "Shots holds no", **places)
