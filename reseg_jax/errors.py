"""The one exception for a user's mistake."""


class UserError(ValueError):
    """Bad input: one sentence that names the file or flag, what is wrong and what to do.

    Commands print the sentence and exit non-zero; notebooks see an ordinary ValueError.
    """
