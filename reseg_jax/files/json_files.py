"""JSON that a user may have written by hand, or a disk have damaged."""

import json
import os

from reseg_jax.errors import UserError
from reseg_jax.files.atomic import read_file

MOST_BYTES = 64 << 20
"""Of a file: the record of a run of ten thousand epochs has about a tenth."""

_DEEPEST = 32  # lists and objects within one another; ours have five


def read_json(path: str | os.PathLike):
    """What the JSON file at `path` says.

    Raises:
      UserError: it is missing, empty, unreasonably large, not UTF-8 or no JSON.
    """
    return parse_json(read_file(path, MOST_BYTES), str(path))


def parse_json(content: str | bytes, name: str):
    """What a JSON text says.

    Args:
      content: the text, or its bytes in UTF-8.
      name: of its file, for messages.

    Raises:
      UserError: it is no such text, or its lists and objects are nested too deeply.
    """
    try:
        value = json.loads(content)
        level = [value]
        for _ in range(_DEEPEST):
            level = [inner for outer in level for inner in _inside(outer)]
        if level:
            raise RecursionError
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is damaged or not UTF-8 ({error}): save it as UTF-8") from error
    except RecursionError:
        raise UserError(
            f"{name} is damaged or nested too deeply: restore it, or write it again"
        ) from None
    except ValueError as error:
        raise UserError(
            f"{name} is damaged or no JSON file ({error}): restore it, or write it again"
        ) from error
    return value


def _inside(value):
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
