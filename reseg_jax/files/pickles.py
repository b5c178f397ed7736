"""Pickles of weights, read without running what they ask for.

A pickle is a program: it names functions and calls them. The unpickler here knows the few names
that its user lists, and what stands for each of them; every other name ends the reading.
`torch_files.py` reads torch's files with it.
"""

import os
import pickle
import typing

from reseg_jax.errors import UserError


class RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that resolves only the names it is given.

    Args:
      file: opened for reading bytes.
      path: of the file, for messages.
      known: {(module, name): what stands for it}.
      **options: of `pickle.Unpickler`.

    Raises:
      UserError: by `load`, if the pickle asks for any other name.
    """

    def __init__(
        self,
        file: typing.BinaryIO,
        path: str | os.PathLike,
        known: dict[tuple[str, str], object],
        **options,
    ):
        super().__init__(file, **options)
        self.path, self.known = path, known

    def find_class(self, module, name):
        if (module, name) not in self.known:
            raise UserError(
                f"{self.path} asks for {module}.{name}, which no file of tensors needs: "
                "refused, get the weights from a source you trust"
            )
        return self.known[module, name]
