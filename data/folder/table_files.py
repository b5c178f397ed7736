"""Files that tables of classes come in: JSON, class_dict.csv, and labelmap.txt of CVAT."""

import csv
import io
import json

_OLD_FIELDS = {"void_colours": "void_colors"}


class WrongTable(ValueError):
    """What is wrong, without the file's name and the example."""


def from_json(data: bytes) -> dict:
    """The object in a JSON file, fields under their present names."""

    def unique(pairs):
        content = dict(pairs)
        if len(content) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise WrongTable(f"{json.dumps(twice)} is there twice")
        return content

    try:
        content = json.loads(data, object_pairs_hook=unique)
    except WrongTable:
        raise
    except (ValueError, RecursionError) as error:
        raise WrongTable(f"no JSON ({error})") from error
    if not isinstance(content, dict):
        raise WrongTable("expected the names of the classes in an object")
    return {_OLD_FIELDS.get(name, name): value for name, value in content.items()}


def from_csv(data: bytes) -> dict:
    """The content of a class_dict.csv: name,r,g,b."""
    lines = io.StringIO(_text(data), newline=None)  # ends of lines of any system
    try:
        rows = [row for row in csv.reader(lines) if any(map(str.strip, row))]
    except csv.Error as error:
        raise WrongTable(f"no CSV ({error})") from error
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    if header not in (["name", "r", "g", "b"], ["name", "red", "green", "blue"]):
        raise WrongTable("expected a first line name,r,g,b and a line like cat,255,0,0 per class")
    return _rows([(row[0].strip(), row[1:]) for row in rows[1:]])


def from_labelmap(data: bytes) -> dict:
    """The content of CVAT's labelmap.txt: name:r,g,b:parts:actions."""
    lines = [line.strip() for line in _text(data).splitlines()]
    rows = []
    for line in lines:
        if not line or line.startswith("#"):
            continue
        name, *rest = line.rsplit(":", 3)
        if len(rest) != 3:
            raise WrongTable(f"expected lines like cat:255,0,0:: , not {line!r}")
        rows.append((name, rest[0].split(",")))
    return _rows(rows)


def _rows(rows):
    palette = []
    for name, color in rows:
        try:
            palette.append([int(part) for part in color])
        except ValueError:
            raise WrongTable(f"the color of {name!r} is {','.join(color)!r}, no r,g,b") from None
    return {"names": [name for name, _ in rows], "palette": palette}


def _text(data):
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise WrongTable(f"no UTF-8 text ({error})") from error
