"""Files, folders and patterns of images, as users write them."""

import pytest

from reseg_jax.errors import UserError
from reseg_jax.files.image_paths import list_images


def test_a_file_a_folder_or_a_pattern_names_images(tmp_path):
    names = ["b.png", "a.JPG", ".hidden.png", "notes.txt", "odd[1].png", "raw.data"]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()

    def found(pattern):
        return [path.name for path in list_images(str(tmp_path / pattern))[1]]

    assert found("") == ["a.JPG", "b.png", "odd[1].png"]
    assert found("*.png") == ["b.png", "odd[1].png"]
    assert found("*") == ["a.JPG", "b.png", "odd[1].png"]
    assert found("odd[1].png") == ["odd[1].png"]
    assert found("raw.data") == ["raw.data"]


def test_folders_in_a_folder_are_searched_and_links_followed(tmp_path):
    for name in ("a/1.png", "a/b/2.jpg", "a/.cache/3.png", "away/4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "away")
    _, found = list_images(str(tmp_path / "a"))
    names = [path.relative_to(tmp_path / "a").as_posix() for path in found]
    assert names == ["1.png", "b/2.jpg", "link/4.png"]
    (tmp_path / "away" / "back").symlink_to(tmp_path / "a")
    with pytest.raises(UserError, match="which holds it: remove the link"):
        list_images(str(tmp_path / "a"))


def test_what_exists_is_no_pattern_and_suffixes_match_in_any_case(tmp_path):
    folder = tmp_path / "photos[1]"
    for name in ("x.png", "in/y.JPG", "in/z.jpg", "in/z.jpeg", "in/w?.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()

    def found(pattern):
        _, paths = list_images(str(folder / pattern))
        return [path.relative_to(folder).as_posix() for path in paths]

    assert found("x.png") == ["x.png"]
    assert found("*.png") == ["x.png"]
    assert found("in/*.jpg") == ["in/w?.jpg", "in/y.JPG", "in/z.jpg"]
    assert found("**/*.JPG") == ["in/w?.jpg", "in/y.JPG", "in/z.jpg"]
    assert found("in/w?.jpg") == ["in/w?.jpg"]


def test_what_is_left_out_of_a_folder_is_said(tmp_path, caplog):
    for name in ("a.png", "b.txt", "c.txt", ".d"):
        (tmp_path / name).touch()
    list_images(str(tmp_path))
    assert caplog.messages == [f"{tmp_path}: 1 images; 2 other files are not read: 2 .txt"]


def test_what_names_no_image_is_reported(tmp_path):
    (tmp_path / "notes.txt").touch()
    for name, message in {
        ".": "folder .* holds no image",
        "*.png": r"no image .* matches .*\*\.png",
        "none.png": r"none\.png does not exist",
        "none/none.png": r"none\.png does not exist",
        "x" * 300: "x does not exist",
    }.items():
        with pytest.raises(UserError, match=message):
            list_images(str(tmp_path / name))
