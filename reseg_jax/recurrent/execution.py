"""How sweeps are computed, as data: a part of the configs of networks that sweep."""

import dataclasses

from reseg_jax.errors import UserError, check_choice
from reseg_jax.recurrent.sweep import IMPLEMENTATIONS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execution:
    """How sweeps are computed, not what: `reseg_jax.sweep` says what each does.

    Attributes:
      unroll: steps of a sweep per iteration of the compiled loop, or "all".
      remat: compute the gates again in the backward pass: less memory in training, more time.
      implementation: "scan", or "pallas", a GPU kernel.
    """

    unroll: int | str = 1
    remat: bool = False
    implementation: str = "scan"

    def __post_init__(self):
        if self.unroll is True:  # equals 1 in Python, and so would two configs be equal
            object.__setattr__(self, "unroll", "all")
        if self.unroll != "all" and (isinstance(self.unroll, str) or self.unroll < 1):
            raise UserError(f'unroll={self.unroll!r}: give a number of steps from 1, or "all"')
        check_choice("implementation", self.implementation, IMPLEMENTATIONS)
