"""Config dataclasses as plain data: JSON in and out, and field=value texts."""

import dataclasses
import json
import types
import typing

from reseg_jax.errors import UserError


def to_dict(config) -> dict:
    """A config dataclass as plain data for JSON."""
    return dataclasses.asdict(config)


def from_dict(cls, values: dict):
    """The config dataclass `cls` from what `to_dict` gave, before or after a trip through JSON."""
    unknown = set(values) - {field.name for field in dataclasses.fields(cls)}
    if unknown:
        raise UserError(f"{cls.__name__} has no field {', '.join(sorted(unknown))}")
    hints = typing.get_type_hints(cls)
    return cls(**{name: _from_plain(hints[name], value) for name, value in values.items()})


def _from_plain(hint, value):
    if isinstance(value, dict):
        (nested,) = [h for h in _members(hint) if dataclasses.is_dataclass(h)]
        return from_dict(nested, value)
    return _tuples(value)


def _members(hint):
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _tuples(value):
    """Lists, which JSON has in place of tuples, back as tuples: a config must be hashable."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def override(config, assignments: typing.Iterable[str]):
    """`config` with `key=value` texts applied; a value is JSON, or else a plain word.

    >>> override(ReSegConfig(), ["cell=lstm", "units=[32, 32]"]).units
    (32, 32)
    """
    hints = typing.get_type_hints(type(config))
    changes = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator or name not in hints:
            raise UserError(
                f"--set {assignment}: write field=value; the fields are {', '.join(hints)}"
            )
        try:
            value = _tuples(json.loads(text.lower() if text in ("True", "False") else text))
        except json.JSONDecodeError:
            value = None if text == "None" else text
        _check_type(name, hints[name], value)
        changes[name] = value
    return dataclasses.replace(config, **changes)


def _check_type(name, hint, value):
    if not _matches(hint, value):
        kind = hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else hint
        raise UserError(f"--set {name}={value!r}: {name} must be {kind}")


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
    return isinstance(value, (int, float) if hint is float else hint)


def differences(ours, theirs) -> list[str]:
    """Which fields of two config dataclasses differ, as 'name: a here, b there' texts."""
    return [
        f"{field.name}: {getattr(ours, field.name)!r} here, {getattr(theirs, field.name)!r} there"
        for field in dataclasses.fields(ours)
        if repr(getattr(ours, field.name)) != repr(getattr(theirs, field.name))
    ]
