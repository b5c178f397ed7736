"""The one exception for a user's mistake, and the sentences that several files share."""

from collections.abc import Iterable


class UserError(ValueError):
    """Bad input: one sentence that names the file or flag, what is wrong and what to do.

    Commands print the sentence and exit non-zero; notebooks see an ordinary ValueError.
    """


def check_choice(name: str, value: object, choices: Iterable) -> None:
    """Checks that a field has one of its known values.

    Args:
      name: of the field or flag.
      value: what it was set to.
      choices: the known values, in the order in which the sentence lists them.

    Raises:
      UserError: `value` is not among `choices`.
    """
    choices = tuple(choices)
    if value not in choices:
        raise UserError(f"{name}={value!r} is unknown; known are: {', '.join(map(str, choices))}")


def check_share(name: str, value: float) -> None:
    """Checks that a field is a share of which something is left, as of what dropout keeps.

    Args:
      name: of the field or flag.
      value: what it was set to.

    Raises:
      UserError: `value` is below 0, or 1 or more.
    """
    if not 0 <= value < 1:
        raise UserError(f"{name}={value}: give a share from 0 to below 1")


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the error's type if it says nothing.

    At most 200 characters, so that it fits into a sentence.
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
