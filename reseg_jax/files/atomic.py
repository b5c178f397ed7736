"""Reading and writing whole files: a reader sees the old file or the new one, never half of it."""

import errno
import os
import pathlib

from reseg_jax.errors import UserError, first_line

ADVICE = {
    errno.ENOSPC: "free some space there or choose another folder",
    errno.EDQUOT: "free some space there or choose another folder",
    errno.EROFS: "choose a folder that you may write to",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.ENOTDIR: "a part of the path is a file, choose another folder",
    errno.EEXIST: "a part of the path is a file, choose another folder",
    errno.EISDIR: "there is a folder of that name, choose another",
}
"""What to do about an operating system's refusal to write."""


def read_file(path: str | os.PathLike) -> bytes:
    """The content of a file.

    Raises:
      UserError: it does not exist, cannot be read, or is empty.
    """
    try:
        data = pathlib.Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: check the path") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if not data:
        raise UserError(f"{path} is empty (0 bytes): copy or download it again")
    return data


def write_file(path: str | os.PathLike, data: bytes) -> None:
    """Puts `data` at `path` in one step, and makes the folders above it.

    Args:
      path: the file, which may exist.
      data: its new content.

    Raises:
      UserError: the disk is full or may not be written; what was at `path` before is still there.
    """
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(data)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UserError(f"cannot write {path}: {explain(error)}") from error


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
