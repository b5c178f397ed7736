"""What processes that were killed left behind half written: temporary files and folders."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

# As `reseg_jax.files.atomic.write_file` calls a file that is not yet whole.
_PART = re.compile(r"\..+\.(\d+)\.part")
# A process of another machine, at work in the same folder, looks dead from here: what was written
# to in these last seconds is left alone. A file is written and renamed in less.
_SECONDS = 2.0


def abandoned_parts(folder: Path) -> Iterator[Path]:
    """Temporary files directly in `folder` whose writers no longer live."""
    for path in sorted(folder.glob(".*.part")) if folder.is_dir() else ():
        match = _PART.fullmatch(path.name)
        if match and not _lives(int(match[1])) and _age(path) > _SECONDS:
            yield path


def _lives(process):
    # One of our own number was another's, before us: containers count from 1 at each start.
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        return True
    return process != os.getpid()


def _age(path):
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
