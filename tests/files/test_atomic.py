"""Files are read whole and written in one step, and a disk's refusal is one sentence."""

import errno
import os
import pathlib

import pytest

from reseg_jax.errors import UserError
from reseg_jax.files.atomic import read_file, write_file


def test_what_is_written_is_read_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "new" / "folder" / "scores.json"
    write_file(path, b"first")
    write_file(path, b"second")
    assert read_file(path) == b"second"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.ENOSPC, "No space left on device; free some space"),
        (errno.EROFS, "Read-only file system; choose a folder"),
        (errno.EACCES, "Permission denied; choose a folder"),
    ],
)
@pytest.mark.parametrize("step", ["write", "rename"])
def test_a_refusal_keeps_the_old_file_and_leaves_no_part(
    tmp_path, monkeypatch, code, sentence, step
):
    path = tmp_path / "scores.json"
    write_file(path, b"old")

    def refuse(*arguments):
        raise OSError(code, os.strerror(code))

    def half(self, data):
        with open(self, "wb") as file:
            file.write(data[:1])
        refuse()

    if step == "write":
        monkeypatch.setattr(pathlib.Path, "write_bytes", half)
    else:
        monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(UserError, match=f"cannot write {path}: {sentence}"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_below_a_file_is_reported(tmp_path):
    (tmp_path / "a").write_bytes(b"a file")
    for path in (tmp_path / "a" / "b.png", tmp_path / "a" / "b" / "c.png"):
        with pytest.raises(UserError, match=f"cannot write {path}: .*a part of the path is a file"):
            write_file(path, b"data")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_reported(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(UserError, match="Permission denied; choose a folder"):
        write_file(tmp_path / "a.png", b"data")


def test_missing_empty_and_unreadable_files_are_reported(tmp_path):
    (tmp_path / "empty").touch()
    for name, message in {
        "none": "none does not exist",
        "empty": r"empty is empty \(0 bytes\)",
        ".": "cannot be read: Is a directory",
        "empty/a.png": "cannot be read: Not a directory",
    }.items():
        with pytest.raises(UserError, match=message):
            read_file(tmp_path / name)
