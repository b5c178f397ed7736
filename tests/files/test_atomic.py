"""Files are read whole and written in one step, and a disk's refusal is one sentence."""

import errno
import fcntl
import os
import stat
import subprocess
import sys

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
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_refusal_keeps_the_old_file_and_leaves_no_part(
    tmp_path, monkeypatch, code, sentence, step
):
    path = tmp_path / "scores.json"
    write_file(path, b"old")

    def refuse(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(UserError, match=f"cannot write {path}: {sentence}"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_content_and_name_are_on_the_disk_before_and_after_the_rename(tmp_path, monkeypatch):
    """File, rename, folder; a new folder's own name before that."""
    done, sync, rename = [], os.fsync, os.replace

    def fsync(opened):
        number = opened if isinstance(opened, int) else opened.fileno()
        done.append("folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "file")
        sync(opened)

    def replace(*paths):
        done.append("rename")
        rename(*paths)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_file(tmp_path / "a.json", b"first")
    assert done == ["file", "rename", "folder"]
    done.clear()
    write_file(tmp_path / "new" / "folder" / "a.json", b"first")
    assert done == ["folder", "folder", "file", "rename", "folder"]


def test_parts_of_dead_writers_are_removed_and_no_others(tmp_path):
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                           capture_output=True, text=True, check=True)  # fmt: skip
    dead = int(ended.stdout)
    gone = [f".a[1].png.{dead}.part", f"a[1].png.{dead}.part", f".a[1].png.{10**12}.part"]
    kept = [f".a[1].png.{os.getppid()}.part", f".b.png.{dead}.part", "a[1].png.part"]
    for name in gone + kept:
        (tmp_path / name).write_bytes(b"half")
    write_file(tmp_path / "a[1].png", b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {"a[1].png", *kept}


def test_a_part_that_a_writer_of_another_machine_holds_is_kept(tmp_path):
    """It has a number of no process here, but it is locked."""
    foreign = tmp_path / f".a.png.{10**12}.part"
    with open(foreign, "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_file(tmp_path / "a.png", b"first")
        assert foreign.exists()
    write_file(tmp_path / "a.png", b"second")
    assert not foreign.exists()


def test_names_that_no_disk_takes_are_reported(tmp_path):
    for name, sentence in {
        "a" * 300: "File name too long; choose shorter names",
        "b/" * 3000: "File name too long; choose shorter names",
        "a\0b": "null",
    }.items():
        with pytest.raises(UserError, match=sentence):
            write_file(tmp_path / name, b"data")
        with pytest.raises(UserError, match=r"too long|null|does not exist"):
            read_file(tmp_path / name)


def test_what_might_never_end_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(UserError, match=f"{path} is a pipe or a device: give a file"):
            read_file(path)
    (tmp_path / "large").write_bytes(b"12345")
    assert read_file(tmp_path / "large", limit=5) == b"12345"
    with pytest.raises(UserError, match="large has 5 bytes, more than the 4 that are read"):
        read_file(tmp_path / "large", limit=4)


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
