"""Which images `predict` takes, which label belongs to which, and what pictures are called."""

from pathlib import Path

import pytest

from experiments.predict_files import by_name, find_labels, read_truth
from reseg_jax.errors import UserError
from reseg_jax.files.image_paths import list_images
from reseg_jax.labels import LabelReading
from tests.support.folder_data import turned

READING = LabelReading("indices", ((0, 0), (1, 1)))


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def listed(folder, pattern, **options):
    top, paths = list_images(f"{folder}/{pattern}", **options)
    return sorted(path.relative_to(folder).as_posix() for path in paths), top


def test_images_are_found_wherever_they_are(tmp_path):
    names = ("a.JPG", "sub [1]/b.jpg", "sub [1]/deep/c.jfif", "out/a_color.png", ".d/e.png")
    touch(tmp_path, *names, "notes.txt")
    everything, _ = listed(tmp_path, "")
    assert everything == sorted(names[:4])
    assert listed(tmp_path, "", leave_out=[tmp_path / "out"])[0] == sorted(names[:3])
    assert listed(tmp_path, "*.jpg") == (["a.JPG"], tmp_path)
    assert listed(tmp_path, "sub [1]/*.jpg") == (["sub [1]/b.jpg"], tmp_path / "sub [1]")
    assert listed(tmp_path, "sub [1]")[0] == ["sub [1]/b.jpg", "sub [1]/deep/c.jfif"]
    assert listed(tmp_path, "**/*.[jJ]*")[0] == sorted(names[:3])
    touch(tmp_path / "text", "a.txt")
    with pytest.raises(UserError, match=r"holds no image .*; 1 other files are not read: 1 .txt"):
        list_images(str(tmp_path / "text"))


def test_predictions_are_called_after_their_images():
    paths = [Path("p/a.jpg"), Path("p/a.png"), Path("p/x/a.png"), Path("p/b.v1.png")]
    assert list(by_name(Path("p"), paths)) == ["a.jpg", "a.png", "x/a", "b.v1"]


@pytest.mark.parametrize(
    ("photos", "labels", "expected"),
    [
        (["a.jpg", "b.jpg"], ["a.png"], {"a.jpg": "a.png"}),
        (
            ["x/a.jpg", "y/a.jpg"],
            ["x/a.png", "y/a.png"],
            {"x/a.jpg": "x/a.png", "y/a.jpg": "y/a.png"},
        ),
        (["x/a.jpg"], ["a_mask.png", "b_mask.png"], {"x/a.jpg": "a_mask.png"}),
        (
            ["a_leftImg8bit.png"],
            ["a_gtFine_labelIds.png"],
            {"a_leftImg8bit.png": "a_gtFine_labelIds.png"},
        ),
        (["a.jpg"], ["c.png"], {}),
        (
            ["a.jpg", "x/b.jpg"],
            ["a_mask.png", "b_mask.png"],
            {"a.jpg": "a_mask.png", "x/b.jpg": "b_mask.png"},
        ),
        (["x/b.jpg", "y/b.jpg"], ["b.png"], {}),
    ],
)
def test_labels_are_found_as_for_training(tmp_path, photos, labels, expected):
    tops = touch(tmp_path / "p", *photos), touch(tmp_path / "l", *labels)
    paths = [
        sorted(top / name for name in names)
        for top, names in zip(tops, (photos, labels), strict=True)
    ]
    found = find_labels(tops[0], paths[0], tops[1], paths[1])
    named = {
        a.relative_to(tops[0]).as_posix(): b.relative_to(tops[1]).as_posix()
        for a, b in found.items()
    }
    assert named == expected


def test_photos_and_labels_in_one_folder(tmp_path):
    folder = touch(tmp_path, "a.png", "a_mask.png", "b.png", "b_mask.png")
    paths = sorted(folder.glob("*.png"))
    found = find_labels(folder, paths, folder, paths)
    assert {a.name: b.name for a, b in found.items()} == {
        "a.png": "a_mask.png",
        "b.png": "b_mask.png",
    }


def test_a_truth_that_is_not_turned_with_its_photo_is_refused(tmp_path):
    turned(tmp_path, (6, 6), 6, names=["0"])
    path, label = tmp_path / "images/0.png", tmp_path / "labels/0.png"
    with pytest.raises(UserError, match=r"turned by EXIF .*--exif=apply"):
        read_truth(path, (6, 6), {path: label}, READING)
    with pytest.raises(UserError, match=r"0\.png has no label"):
        read_truth(path, (6, 6), {}, READING)
