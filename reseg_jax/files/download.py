"""Files from the network, checked, into a cache folder; HTTP by the standard library."""

import hashlib
import http.client
import os
import sys
import urllib.request
from pathlib import Path

from reseg_jax.errors import UserError
from reseg_jax.files.atomic import explain, replacing

MOST_BYTES = 4 << 30
"""Of a download whose size is not known: the largest here, Keras' VGG-16 with its classifier, has
an eighth. A server that never ends must not fill the disk."""

_CHUNK = 1 << 20  # bytes a read: large beside a packet, small beside the memory
_TIMEOUT = 30  # seconds of silence after which a server counts as gone


def cache_dir() -> Path:
    """Where downloads are kept: $RESEG_CACHE, else reseg_jax in $XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("RESEG_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "reseg_jax"


def download(
    url: str,
    path: str | os.PathLike,
    sha256: str | None = None,
    md5: str | None = None,
    size: int | None = None,
    what: str = "a file",
    advice: str | None = None,
) -> Path:
    """Fetches a file unless it is there already with the right size and checksums.

    It appears at `path` whole and checked, or not at all.

    Args:
      url: http or https.
      path: where to put it; folders are made.
      sha256, md5: hexadecimal digests, or their first digits if no more is published; None is not
        checked.
      size: bytes; None is not checked.
      what: what the file is, for messages.
      advice: what to do if it cannot be downloaded, for the message.

    Returns:
      `path`.

    Raises:
      UserError: there is no network, the answer is not 200, the body is cut short, a checksum is
        another, or the disk is full or may not be written; with `url`, `path` and the advice.
    """
    path = Path(path)
    try:
        if path.is_file():
            with open(path, "rb") as file:
                if not _mismatch(file, sha256, md5, size):
                    return path
        with replacing(path) as file:
            _fetch(url, file, what, MOST_BYTES if size is None else size)
            if mismatch := _mismatch(file, sha256, md5, size):
                raise OSError(f"what came is not that file: {mismatch}")
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a bad URL
        reason = explain(error) if isinstance(error, OSError) else str(error) or repr(error)
        advice = advice or f"fetch it on a machine with a network and put it at {path}"
        raise UserError(
            f"cannot download {what} from {url} to {path} ({reason}): {advice}"
        ) from error
    return path


def _fetch(url, file, what, most):
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
        length = answer.headers.get("Content-Length")
        total = f" of {int(length) / 1e6:.1f}" if length else ""
        live = sys.stderr.isatty()
        if not live:
            print(f"downloading {what} from {url}", file=sys.stderr, flush=True)
        done = 0
        while chunk := answer.read(_CHUNK):
            done += file.write(chunk)
            if done > most:
                raise OSError(f"what comes has more than {most} bytes")
            if live:
                line = f"\r\x1b[Kdownloading {what}: {done / 1e6:.1f}{total} MB"
                print(line, end="", file=sys.stderr, flush=True)
        if live:
            print(file=sys.stderr)
    if length and done != int(length):
        raise OSError(f"the connection ended after {done} of {length} bytes")


def _mismatch(file, sha256, md5, size):
    """What is wrong with an open file, as text; None if nothing is."""
    found = file.seek(0, os.SEEK_END)
    if size is not None and found != size:
        return f"it has {found} bytes and not {size}"
    for algorithm, expected in (("sha256", sha256), ("md5", md5)):
        if expected is not None:
            file.seek(0)
            found = hashlib.file_digest(file, algorithm).hexdigest()
            if not found.startswith(expected.lower()):
                return f"its {algorithm} is {found} and not {expected}"
    return None
