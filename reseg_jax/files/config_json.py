"""Config dataclasses as JSON, and `field=value` texts that change them.

A dataclass inside another is a nested object in JSON, and its fields are dotted names in texts:
`backbone.trainable=true`.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Iterable

from reseg_jax.errors import UserError


def to_dict(config) -> dict:
    """A config dataclass as plain data for JSON."""
    return dataclasses.asdict(config)


def from_dict(cls, values: dict):
    """The config dataclass `cls` from what `to_dict` gave, before or after a trip through JSON.

    Raises:
      UserError: `values` is no such thing: it has a field that `cls` has not, lacks one that it
        must have, or has a value of another type.
    """
    if not isinstance(values, dict):
        raise UserError(f"{cls.__name__} must be an object of its fields, not {_short(values)}")
    fields = {field.name: field for field in dataclasses.fields(cls)}
    if unknown := {str(name) for name in values} - fields.keys():
        raise UserError(f"{cls.__name__} has no field {', '.join(sorted(unknown))}")
    missing = [
        name
        for name, field in fields.items()
        if name not in values and field.default is field.default_factory  # there is neither
    ]
    if missing:
        raise UserError(f"{cls.__name__} lacks {', '.join(missing)}")
    hints = typing.get_type_hints(cls)
    return cls(**{name: _from_json(name, hints[name], value) for name, value in values.items()})


def _from_json(name, hint, value):
    if isinstance(value, dict):
        known = {cls: {field.name for field in dataclasses.fields(cls)} for cls in _nested(hint)}
        if not known:
            raise UserError(f"{name}={_short(value)}: {name} has no fields of its own")
        # The one that has most of the fields; the first if several have as many.
        return from_dict(max(known, key=lambda cls: len(known[cls] & value.keys())), value)
    value = _tuples(value)
    if not _matches(hint, value):
        raise UserError(f"{name}={_short(value)}: {name} must be {_kind(hint)}")
    return value


def _short(value):
    """A value as text that fits into a sentence."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


def _kind(hint):
    """An annotation as text."""
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)


def _members(hint):
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _nested(hint):
    """The dataclasses that a field may hold."""
    return [member for member in _members(hint) if dataclasses.is_dataclass(member)]


def _tuples(value):
    """Lists, which JSON has in place of tuples, back as tuples: a config must be hashable."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def field_names(config) -> list[str]:
    """The names that `override` takes, those of nested dataclasses dotted.

    Args:
      config: a dataclass or an instance of one. Of a field that may hold one of several, they are
        those of the one that it holds, or of all if it holds none.
    """
    names = []
    hints = typing.get_type_hints(config if isinstance(config, type) else type(config))
    for field in dataclasses.fields(config):
        names.append(field.name)
        held = getattr(config, field.name, None)
        nested = [held] if dataclasses.is_dataclass(held) else _nested(hints[field.name])
        inner = dict.fromkeys(name for part in nested for name in field_names(part))
        names += [f"{field.name}.{name}" for name in inner]
    return names


def flat(config) -> dict:
    """{dotted name: value} of all fields, nested dataclasses opened."""
    values = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            values |= {f"{field.name}.{name}": inner for name, inner in flat(value).items()}
        else:
            values[field.name] = value
    return values


def parse(assignment: str) -> tuple[str, object]:
    """(name, value) of a `name=value` text; a value is JSON, or else a plain word.

    Raises:
      UserError: there is no "=".
    """
    name, separator, text = assignment.partition("=")
    if not separator:
        raise UserError(
            f"--set {assignment}: write field=value; --dry_run lists the fields with their values"
        )
    try:
        return name, _tuples(json.loads(text.lower() if text in ("True", "False") else text))
    except json.JSONDecodeError:
        return name, None if text == "None" else text


def override(config, assignments: Iterable[str]):
    """`config` with `name=value` texts applied, all at once.

    >>> override(ReSegConfig(), ["cell=lstm", "units=[32, 32]", "backbone.trainable=true"]).units
    (32, 32)

    Raises:
      UserError: there is no such field, or it takes no such value.
    """
    return replace(config, dict(map(parse, assignments)))


def replace(config, values: dict):
    """`config` with fields at other values, all at once.

    Args:
      config: a dataclass.
      values: {name: value}; names of fields of nested dataclasses are dotted.

    Raises:
      UserError: there is no such field, or it takes no such value.
    """
    return _replace(config, values, "")


def _replace(config, values, place):
    """`place` is what comes before names in the sentences: "backbone." of a nested dataclass."""
    hints, changes, inner = typing.get_type_hints(type(config)), {}, {}
    for name, value in values.items():
        head, _, rest = name.partition(".")
        if head not in hints or head not in {field.name for field in dataclasses.fields(config)}:
            known = ", ".join(f"{place}{field}" for field in field_names(config))
            raise UserError(f"--set {place}{name}: write field=value; the fields are {known}")
        if rest:
            inner.setdefault(head, {})[rest] = value
            continue
        if not _matches(hints[head], value):
            kind = _kind(hints[head])
            raise UserError(f"--set {place}{name}={value!r}: {name} must be {kind}")
        changes[head] = value
    for head, nested in inner.items():
        current = changes.get(head, getattr(config, head))
        if not dataclasses.is_dataclass(current):
            names = ", ".join(f"{place}{head}.{name}" for name in nested)
            raise UserError(
                f"--set {names}: {head} is {current!r} here and has no fields: leave it out"
            )
        changes[head] = _replace(current, nested, f"{place}{head}.")
    return dataclasses.replace(config, **changes)


def _matches(hint, value):
    """Whether `value` is what a field of these dataclasses is annotated with, tuples inside too."""
    if isinstance(hint, types.UnionType):
        return any(_matches(member, value) for member in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        kinds = typing.get_args(hint)
        if not isinstance(value, tuple):
            return False
        if kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(value)
        return len(kinds) == len(value) and all(map(_matches, kinds, value))
    if isinstance(value, bool):
        return hint is bool
    if dataclasses.is_dataclass(hint):
        return isinstance(value, hint)
    return isinstance(value, (int, float) if hint is float else hint)


def differences(ours, theirs) -> dict[str, str]:
    """{dotted name: "a here, b there"} of the fields in which two config dataclasses differ."""
    if type(ours) is not type(theirs):
        return {"network": f"{type(ours).__name__} here, {type(theirs).__name__} there"}
    here, there = flat(ours), flat(theirs)

    def text(config, values, name):
        if name in values:
            return repr(values[name])
        value = getattr(config, name, None)  # None for fields of a dataclass that is not there
        return "nothing" if value is None else type(value).__name__

    return {
        name: f"{text(ours, here, name)} here, {text(theirs, there, name)} there"
        for name in {**here, **there}
        if here.get(name) != there.get(name) or (name in here) != (name in there)
    }
