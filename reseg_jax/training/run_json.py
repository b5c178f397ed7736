"""run.json: what a run is, sealed by a checksum."""

import json
from collections.abc import Iterable
from pathlib import Path

from reseg_jax.errors import UserError, first_line
from reseg_jax.files import atomic, sealed_json

# What a run.json says beside the run; "versions": before there was a provenance.
_BESIDE = {"preset", "provenance", "versions", sealed_json.FIELD}


def read(path: Path, fields: Iterable[str]) -> dict:
    """What a run.json says; its checksum is right, or it has none, as those of older versions.

    Args:
      path: of the file.
      fields: what it may say of the run.

    Raises:
      UserError: it is not there, cannot be read, or is not what was written.
    """
    if not path.exists():
        raise UserError(
            f"{path.parent} holds no run (no run.json): train one with "
            f"python -m experiments.train --workdir={path.parent}"
        )
    content = atomic.read_file(path)
    try:
        record = json.loads(content)
        if not isinstance(record, dict):
            raise ValueError(f"it holds a {type(record).__name__}")
        unknown = set(record) - {*fields, *_BESIDE}
        sealed = sealed_json.FIELD in record
        if sealed and not sealed_json.is_whole(record):
            raise UserError(
                f"{path} was changed or is damaged (its checksum differs): if you changed it, "
                f'remove "{sealed_json.FIELD}" from it, and it is read as it stands; otherwise put '
                "a copy back, or move it away and give the same train command, which writes it anew"
            )
    except (ValueError, TypeError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise damaged(path, first_line(error)) from error
    if unknown:
        raise damaged(path, f"nothing in it is called {', '.join(sorted(unknown))}")
    return record


def damaged(path: Path, why: str) -> UserError:
    """The error to raise if a run.json makes no sense."""
    return UserError(
        f"{path} is damaged ({why}): put a copy back, or move it away and give the same train "
        "command, which writes it anew"
    )


def write(path: Path, record: dict) -> None:
    """Write a run.json, with its checksum."""
    text = json.dumps(sealed_json.seal(record), indent=2)
    atomic.write_file(path, f"{text}\n".encode())
