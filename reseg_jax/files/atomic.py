"""Reading and writing whole files: a reader sees the old file or the new one, never half of it.

What is written is on the disk before it takes the old file's place, and so is the change of name,
so that a power cut leaves one of the two as well.
"""

import contextlib
import errno
import fcntl
import os
import pathlib
import re
import stat
import typing
from collections.abc import Iterator

from reseg_jax.errors import UserError, first_line

MOST_BYTES = 1 << 30
"""Of a file that is read in one piece: a TIFF of 8000x6000 pixels in 16-bit RGBA has a third."""

ADVICE = {
    code: advice
    for codes, advice in (
        ((errno.ENOSPC, errno.EDQUOT), "free some space there or choose another folder"),
        ((errno.EROFS, errno.EACCES, errno.EPERM), "choose a folder that you may write to"),
        ((errno.ENOTDIR, errno.EEXIST), "a part of the path is a file, choose another folder"),
        ((errno.EISDIR,), "there is a folder of that name, choose another"),
        ((errno.ENOENT,), "check the path"),
        ((errno.ENAMETOOLONG,), "choose shorter names of files and folders"),
        ((errno.EINVAL, errno.EILSEQ), "the disk allows no such name, choose another"),
        ((errno.ELOOP,), "symbolic links lead in a circle, remove one"),
        ((errno.EFBIG,), "a limit on the size of files is reached, raise it (ulimit -f)"),
        ((errno.EMFILE, errno.ENFILE), "too many files are open, allow more (ulimit -n)"),
        ((errno.EBUSY, errno.ETXTBSY), "another program holds it, end that one"),
        (
            (
                *(errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN),
                *(errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH),
            ),
            "the disk or its connection fails, check it and run the same command again",
        ),
    )
    for code in codes
}
"""What to do about an operating system's refusal to read or write."""

_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM)
# What network and user-space file systems answer that cannot sync a folder.


def read_file(path: str | os.PathLike, limit: int = MOST_BYTES) -> bytes:
    """The content of a file.

    Args:
      path: the file.
      limit: the most bytes it may have.

    Raises:
      UserError: it does not exist, cannot be read, is empty or has more bytes.
    """
    size = file_size(path)
    if size > limit:
        raise UserError(
            f"{path} has {size} bytes, more than the {limit} that are read of such a file: "
            "give another"
        )
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if not data:
        raise UserError(f"{path} is empty (0 bytes): copy or download it again")
    return data


def file_size(path: str | os.PathLike) -> int:
    """The bytes of a file that a reader is about to open.

    Raises:
      UserError: it does not exist, cannot be read, is empty, or is no file but a folder, a pipe,
        for which a reader might wait for ever, or a device, which might never end.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: check the path") from None
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read: {reason}") from error
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is a pipe or a device: give a file")
    if not status.st_size:
        raise UserError(f"{path} is empty (0 bytes): copy or download it again")
    return status.st_size


def _without_waiting(path, flags):
    return os.open(path, flags | os.O_NONBLOCK)


def write_file(path: str | os.PathLike, data: bytes) -> None:
    """Puts `data` at `path` in one step, and makes the folders above it.

    Args:
      path: the file, which may exist.
      data: its new content.

    Raises:
      UserError: the disk is full or may not be written; what was at `path` before is still there.
    """
    try:
        with replacing(path) as file:
            file.write(data)
    except (OSError, ValueError) as error:  # ValueError: a null character
        reason = explain(error) if isinstance(error, OSError) else error
        raise UserError(f"cannot write {path}: {reason}") from error


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[typing.BinaryIO]:
    """A file to write beside `path`, which takes its place if the block ends without an error.

    The folders above are made. What writers that were killed have left of this file is removed: a
    writer locks its temporary file, whose name holds its process's number, so that one on another
    machine is not taken for dead.

    Args:
      path: the file, which may exist.

    Yields:
      The new file, open for writing and reading.

    Raises:
      OSError: the disk is full or may not be written; what was at `path` before is still there.
    """
    path = pathlib.Path(path)
    make_folder(path.parent)
    _remove_parts_of_the_dead(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "w+b") as file:
            _lock(file)
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def make_folder(folder: str | os.PathLike) -> None:
    """Makes a folder and those above it, to stay after a power cut."""
    folder = pathlib.Path(folder)
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in reversed(new):
        sync_folder(each.parent)


def sync_folder(folder: str | os.PathLike) -> None:
    """Puts the names in a folder on the disk, if its file system can."""
    try:
        opened = os.open(folder, os.O_RDONLY)
    except PermissionError:  # it may be written and not read
        return
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(opened)


def _remove_parts_of_the_dead(path):
    part = re.compile(rf"\.?{re.escape(path.name)}\.(\d+)\.part")
    try:
        names = os.listdir(path.parent)
    except PermissionError:
        return
    for name in names:
        if (found := part.fullmatch(name)) and not _alive(int(found[1])):
            with contextlib.suppress(OSError), open(path.with_name(name), "rb") as file:
                if _lock(file):
                    path.with_name(name).unlink()


def _alive(pid):
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        pass
    return True


def _lock(file):
    """Whether nobody else holds the file; on a file system without locks, yes."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def damaged(path: str | os.PathLike, error: Exception) -> UserError:
    """The error to raise if a reader failed on a file that exists and is not empty."""
    return UserError(
        f"{path} is damaged, cut short or of another kind than its name says "
        f"({first_line(error)}): copy or download it again"
    )


def explain(error: OSError) -> str:
    """The operating system's reason, and what to do about it."""
    advice = ADVICE.get(error.errno)
    reason = error.strerror or str(error)
    return f"{reason}; {advice}" if advice else reason
