"""Pickles of tensors, read without running what they ask for.

A pickle is a program for a stack machine: it names functions and calls them. The machine here has
only the instructions that build numbers, texts, tuples, lists and dicts, and in place of functions
the few stand-ins that its user lists; every other instruction or name ends the reading. What it
builds is bounded by the length of the pickle, and nothing in it is walked through: lists that hold
each other many times cost nothing. `torch_files.py` reads torch's files with it.
"""

import os
import pickletools
import typing
from collections.abc import Callable, Mapping

from reseg_jax.errors import UserError

MOST_BYTES = 1 << 20
"""Of a pickle: a tensor without its numbers takes about 150, and networks have some thousands."""

_MOST_INSTRUCTIONS = 1 << 18  # A tensor takes about 30; each is a few microseconds.

_VALUES = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_ARGUMENTS = (
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
)  # instructions that push what stands behind them


def load(
    file: typing.BinaryIO,
    path: str | os.PathLike,
    known: Mapping[tuple[str, str], object],
    persistent: Callable[[object], object] | None = None,
):
    """What the pickle that begins at the file's position describes.

    Args:
      file: bytes in memory, at most `MOST_BYTES`; afterwards at the pickle's end.
      path: where they are from, for messages.
      known: {(module, name): what stands for it}. Only these are called.
      persistent: what stands for a persistent id.

    Raises:
      UserError: the pickle asks for any other name.
      ValueError, LookupError, TypeError: it is damaged, or has an instruction that no file of
        tensors needs.
    """
    stack, marks, memo = [], [], {}

    def pop(count):
        if count > len(stack):
            raise ValueError("it takes more from the stack than there is")
        found = stack[len(stack) - count :]
        del stack[len(stack) - count :]
        return found

    def pop_to_mark():
        return pop(len(stack) - marks.pop())

    for count, (instruction, argument, _) in enumerate(pickletools.genops(file)):
        if count == _MOST_INSTRUCTIONS:
            raise ValueError("it has more instructions than any file of tensors needs")
        name = instruction.name
        if name in _ARGUMENTS:
            stack.append(argument)
        elif name in _VALUES:
            stack.append(_VALUES[name])
        elif name in _TUPLES:
            stack.append(tuple(pop(_TUPLES[name])))
        elif name == "TUPLE":
            stack.append(tuple(pop_to_mark()))
        elif name in ("EMPTY_LIST", "LIST"):
            stack.append(pop_to_mark() if name == "LIST" else [])
        elif name in ("EMPTY_DICT", "DICT"):
            stack.append(_filled({}, pop_to_mark() if name == "DICT" else []))
        elif name in ("APPEND", "APPENDS"):
            items = pop_to_mark() if name == "APPENDS" else pop(1)
            _of(list, stack[-1]).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = pop_to_mark() if name == "SETITEMS" else pop(2)
            _filled(_of(dict, stack[-1]), items)
        elif name == "MARK":
            marks.append(len(stack))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "GLOBAL":
            stack.append(_stand_in(path, known, *argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            module, attribute = pop(2)
            stack.append(_stand_in(path, known, _of(str, module), _of(str, attribute)))
        elif name == "REDUCE":
            function, arguments = pop(2)
            stack.append(function(*_of(tuple, arguments)))
        elif name == "BINPERSID" and persistent:
            stack.append(persistent(stack.pop()))
        elif name == "PERSID" and persistent:
            stack.append(persistent(argument))
        elif name == "BUILD":  # attributes of a state dict, which say nothing of its tensors
            stack.pop()
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise ValueError(f"it has the instruction {name}, which no file of tensors needs")
    return stack.pop()


def _stand_in(path, known, module, name):
    if (module, name) not in known:
        raise UserError(
            f"{path} asks for {module}.{name}, which no file of tensors needs: "
            "refused, get the weights from a source you trust"
        )
    return known[module, name]


def _of(kind, value):
    if not isinstance(value, kind):
        raise ValueError(f"it has a {type(value).__name__} in place of a {kind.__name__}")
    return value


def _filled(found, items):
    """`found` with keys and values, which alternate. Keys are such that none takes long to hash."""
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str) and not (isinstance(key, int) and abs(key) < 1 << 31):
            raise ValueError(f"it has a {type(key).__name__} as a key")
        found[key] = value
    return found
